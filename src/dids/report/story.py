"""What happened, in five sentences with numbers: result, tasks, mixture, data, cost.

Sentences are ``Markup``: names from the user's data go through ``Markup.format``, which escapes
them.
"""

from markupsafe import Markup

from dids.report.against_control import TaskComparison, mean_loss, task_comparisons
from dids.report.numbers import count_text, duration_text, loss_text, percent_text, plural
from dids.report.record import RunRecord
from dids.report.task_mean import are_weighted, task_mean

_AROUND = 1.25  # costs are counted in tokens: seconds come out a little otherwise


def headline(run: RunRecord) -> Markup:
    """The result in one line.

    Args:
        run: The record.

    Returns:
        The sentence.
    """
    mean = mean_loss(task_comparisons(run))
    if mean is None:
        return Markup("Trained on {} tokens").format(count_text(run.tokens))
    name = "Weighted mean test loss" if mean.is_weighted else "Mean test loss"
    change, other = mean.since_base, "the model before training"
    if mean.change is not None and run.control is not None:
        change, other = mean.change, run.control.policy
    if change is None:
        return Markup("{} {}").format(name, loss_text(mean.run))
    if abs(change) < 0.0005:
        return Markup("{} {}, the same as {}").format(name, loss_text(mean.run), other)
    return Markup("{} {}, {} {} {}").format(
        name,
        loss_text(mean.run),
        percent_text(abs(change)),
        "below" if change < 0 else "above",
        other,
    )


def story(run: RunRecord) -> list[Markup]:
    """The run in at most five sentences.

    Args:
        run: The record.

    Returns:
        The sentences, those without data left out.
    """
    sentences = [_setting(run), _tasks(run), _mixture(run), _data(run), _cost(run)]
    return [sentence for sentence in sentences if sentence]


def stability(run: RunRecord) -> Markup:
    """How far another seed gives the same domains.

    Args:
        run: The record.

    Returns:
        A sentence; nothing where it was not measured.
    """
    if run.stability is None:
        return Markup("")
    return Markup(
        "The same gradient features clustered with another seed agree with these domains by an "
        "adjusted Rand index of <b>{:.2f}</b> and a normalised mutual information of <b>{:.2f}</b> "
        "on {} samples; 1 would be the same domains."
    ).format(
        run.stability.adjusted_rand,
        run.stability.mutual_information,
        count_text(run.stability.num_samples),
    )


def _setting(run: RunRecord) -> Markup:
    sources = {name for domain in run.domains.values() for name in domain.source_counts}
    return Markup(
        "The model trained on <b>{}</b> tokens in {}, drawn from {} that regroup {} samples of {}."
    ).format(
        count_text(run.tokens),
        plural(len({entry.round for entry in run.mixture}), "round"),
        plural(len(run.domains), "domain"),
        count_text(sum(domain.samples for domain in run.domains.values())),
        plural(len(sources), "source"),
    )


def _tasks(run: RunRecord) -> Markup:
    tasks = [task for task in task_comparisons(run) if task.change is not None]
    if not tasks or run.control is None:
        before = _since_base(run)
        return Markup("No control run was made. ") + before if before else _tasks_alone(run)
    better = sum(_change(task) < 0 for task in tasks)
    best, worst = min(tasks, key=_change), max(tasks, key=_change)
    text = Markup("Against {} on the same budget, test loss is lower on <b>{} of {}</b>").format(
        run.control.policy, better, plural(len(tasks), "task")
    )
    if len(tasks) > 1:
        text += Markup("; the change runs from {} on {} to {} on {}").format(
            percent_text(_change(best), signed=True),
            _name(best.name),
            percent_text(_change(worst), signed=True),
            _name(worst.name),
        )
    before = _since_base(run)
    return text + (Markup(". {}").format(before) if before else ".")


def _since_base(run: RunRecord) -> Markup:
    tasks = [task for task in task_comparisons(run) if task.since_base is not None]
    if not tasks:
        return Markup("")
    better = sum((task.since_base or 0.0) < 0 for task in tasks)
    return Markup("Test loss is lower than before training on <b>{} of {}</b>.").format(
        better, plural(len(tasks), "task")
    )


def _tasks_alone(run: RunRecord) -> Markup:
    followed = {name: task for name, task in run.tasks.items() if len(task.validation_history) > 1}
    if not followed:
        return Markup("")
    weights = {name: task.weight for name, task in followed.items()}
    first, last = (
        task_mean(
            {name: task.validation_history[at][1] for name, task in followed.items()}, weights
        )
        for at in (0, -1)
    )
    return Markup(
        "No control run was made; the {}mean validation loss over {} went from {} to <b>{}</b>."
    ).format(
        "weighted " if are_weighted(weights) else "",
        plural(len(followed), "task"),
        loss_text(first),
        loss_text(last),
    )


def _mixture(run: RunRecord) -> Markup:
    if len(run.mixture) < 2:
        return Markup("The mixture stayed as it began.")
    first, last = run.mixture[0].probability, run.mixture[-1].probability
    change = {name: last.get(name, 0.0) - first.get(name, 0.0) for name in last}
    up = max(change, key=lambda name: change[name])
    down = min(change, key=lambda name: change[name])
    if change[up] < 5e-4:
        return Markup("The mixture stayed as it began.")
    return Markup(
        "The mixture moved most towards {} ({} → <b>{}</b>) and away from {} ({} → <b>{}</b>)."
    ).format(
        _name(up),
        percent_text(first.get(up, 0.0)),
        percent_text(last[up]),
        _name(down),
        percent_text(first.get(down, 0.0)),
        percent_text(last[down]),
    )


def _data(run: RunRecord) -> Markup:
    domains = run.domains
    if not domains or all(domain.samples_drawn is None for domain in domains.values()):
        return Markup("")
    repeated = [name for name in domains if domains[name].repeats > 0]
    unseen = sum(
        max(domain.samples - (domain.samples_drawn or 0), 0) for domain in domains.values()
    )
    total = sum(domain.samples for domain in domains.values())
    fresh = Markup("<b>{}</b> of the samples were never drawn").format(
        percent_text(unseen / total if total else None)
    )
    if not repeated:
        return Markup("No domain was repeated; {}.").format(fresh)
    most = max(repeated, key=lambda name: domains[name].repeats)
    if len(repeated) == 1:
        text = Markup("Only {} was repeated, for <b>{:.1f}</b> passes beyond the first; {}.")
        return text.format(_name(most), domains[most].repeats, fresh)
    text = Markup(
        "{} domains were repeated, {} the most, for <b>{:.1f}</b> passes beyond the first; {}."
    )
    return text.format(len(repeated), _name(most), domains[most].repeats, fresh)


def _cost(run: RunRecord) -> Markup:
    total = sum(run.time_s.values())
    if run.overhead is None:
        return (
            Markup("The run took <b>{}</b>.").format(duration_text(total)) if total else Markup("")
        )
    text = Markup("Measuring impact and steering cost <b>{}</b> of the training time").format(
        percent_text(run.overhead)
    )
    if run.overhead_allowed is not None:
        text += _allowed(run.overhead, run.overhead_allowed)
    if run.trials:
        text += Markup("; before it, {} trained on <b>{}</b> tokens in {}").format(
            plural(len(run.trials), "trial"),
            count_text(sum(trial.tokens for trial in run.trials)),
            duration_text(sum(trial.elapsed_s for trial in run.trials)),
        )
    if total:
        text += Markup("; the whole run took {}").format(duration_text(total))
    return text + "."


def _allowed(overhead: float, allowed: float) -> Markup:
    if overhead <= _AROUND * allowed:
        return Markup(", of {} that were allowed").format(percent_text(allowed))
    return Markup(
        ", beyond the {} that were allowed: so short a run does not pay for the few measurements "
        "that it needs"
    ).format(percent_text(allowed))


def _change(task: TaskComparison) -> float:
    return task.change or 0.0


def _name(name: str) -> Markup:
    return Markup("<code>{}</code>").format(name)
