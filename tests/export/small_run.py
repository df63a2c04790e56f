"""A finished run in a second: real tokens, domains and weights laid down by hand."""

from pathlib import Path

import numpy as np
import yaml
from run.tiny_run import tiny_config, write_jsonl, write_tiny_data

from dids.atomic import write_json
from dids.config.load import load_config
from dids.domains.domains import Domains
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages
from dids.run.workspace import Workspace

LONG = " ".join(["zz qq xx kk jj"] * 30)
"""More than one sample of 32 tokens."""
ROUNDS = ((0, 0, (0.5, 0.3, 0.2)), (10, 1000, (0.2, 0.3, 0.5)), (30, 3000, (0.1, 0.2, 0.7)))
"""First step, tokens before, probabilities; the run ends at step 40 with 4000 tokens."""
STEPS, TOKENS = 40, 4000


def write_data(folder: Path) -> None:
    """Prompts, chats, and texts with fields of their own, one of them long."""
    write_tiny_data(folder)
    texts = [{"id": f"n-{i}", "text": f"zz qq {'xx ' * (i % 5)}kk", "n": i} for i in range(40)]
    texts[7]["text"] = LONG
    write_jsonl(folder / "noise.jsonl", texts)


def small_run(
    folder: Path,
    *,
    domains: tuple[str, ...] = ("sums", "colours", "noise"),
    domain_of=None,
    rounds=ROUNDS,
    unit: str = "samples",
    **changes: object,
) -> Path:
    """The run folder of a finished run.

    Args:
        folder: For data, config and run.
        domains: Names; by default the sources are the domains.
        domain_of: Domain of a sample by source name and number in it; None: its source.
        rounds: As `ROUNDS`.
        unit: Of the probabilities.
        changes: To the config.
    """
    if not (folder / "sums.jsonl").exists():
        write_data(folder)
    number = "sources" if domain_of is None else 3
    changes = {"domains": {"number": number, "min_samples": 1},
               "mixture": {"policy": "uniform", "rounds": 3, "unit": unit}, **changes}  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(
        yaml.safe_dump(tiny_config(folder, **changes), sort_keys=False), encoding="utf-8"
    )
    config = load_config(path)
    run = RunFolder(Path(config.run))
    work = run_stages(config, run, ConsoleProgress(), last="tokens")
    _domains(work, domains, domain_of).save(run.path / "domains")
    write_json(run.path / "result.json", _result(work, rounds))
    return run.path


def _domains(work: Workspace, names, domain_of) -> Domains:
    source_n = work.dataset.source_of_sample
    first_s = work.dataset.offsets
    sources = list(work.sources)
    domain_n = np.array([
        source if domain_of is None else domain_of(sources[source], n - first_s[source])
        for n, source in enumerate(source_n)
    ])  # fmt: skip
    counts_ks = np.zeros((len(names), len(sources)), dtype=np.int64)
    np.add.at(counts_ks, (domain_n, source_n), 1)
    return Domains(
        names=list(names), domain_of_sample=domain_n, centroid_kd=np.zeros((len(names), 0)),
        source_counts_ks=counts_ks, central_samples=[[] for _ in names], cosines=[0.0] * len(names),
    )  # fmt: skip


def _result(work: Workspace, rounds) -> dict:
    fresh = Workspace(work.config, work.folder, work.progress)
    names, lengths = fresh.domains.names, fresh.dataset.lengths
    return {
        "dids": "0", "seed": 5, "tokens": TOKENS, "steps": STEPS, "tasks": {}, "control": None,
        "mixture": [
            {"round": number, "step": step, "tokens": tokens, "explanation": {},
             "probability": dict(zip(names, map(float, probability), strict=True))}
            for number, (step, tokens, probability) in enumerate(rounds)
        ],
        "domains": {
            name: {"samples": len(members), "tokens": int(lengths[members].sum()),
                   "source_counts": {}}
            for name, members in zip(names, fresh.domains.samples(), strict=True)
        },
        "config": work.config.model_dump(mode="json"),
    }  # fmt: skip
