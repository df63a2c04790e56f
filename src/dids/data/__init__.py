"""From the user's files to token ids on disk.

In the order of the data's path: ``sources`` (which files) → ``readers`` (records) → ``rendering``
(token ids and which of them are scored) → ``token_store`` (memory-mapped arrays) → ``dataset``
(what a loader reads).
"""
