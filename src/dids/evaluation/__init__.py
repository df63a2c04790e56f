"""What a model does on the tasks: loss, multiple choice, and lm-eval on the same items.

Nothing here looks at training data, and no model is changed by being evaluated.
"""

from dids.evaluation.choices import ChoiceAccuracy, choice_accuracy
from dids.evaluation.lm_eval_tasks import lm_eval_accuracy, write_lm_eval_items
from dids.evaluation.task_loss import TaskLoss, task_loss

__all__ = [
    "ChoiceAccuracy",
    "TaskLoss",
    "choice_accuracy",
    "lm_eval_accuracy",
    "task_loss",
    "write_lm_eval_items",
]
