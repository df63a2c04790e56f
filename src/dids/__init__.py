"""DIDS: domain impact-aware data sampling for language model training.

The package follows the data's path; each folder is one stage of it and imports only from those
before it: ``data`` → ``gradients`` → ``domains`` → ``impact`` → ``mixture`` → ``sampling`` →
``training`` → ``evaluation`` → ``report`` → ``run`` → ``cli``.
"""

__version__ = "0.1.0"
