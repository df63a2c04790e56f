"""The command: ``python -m benchmarks.contest`` runs the contest in all settings, and goes on."""

import argparse
import os
from pathlib import Path

from benchmarks.contest.hard_data import write_hard_data
from benchmarks.contest.markdown import markdown
from dids.atomic import read_json
from dids.compare.command import ContestOptions, run_contest
from dids.compare.layout import RESULT_NAME
from dids.config import Config, load_config
from dids.errors import InputError

_HERE = Path(__file__).parent
_SETTINGS = ("instruct", "demo", "hard")
_LARGER = "larger"  # instruct, in a model of 5.5 million parameters
_LARGER_MODEL = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6}


def main() -> None:
    """Run what is missing of every setting's contest, then print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/contest"), help="folder of all")
    parser.add_argument("--settings", nargs="+", choices=(*_SETTINGS, _LARGER), default=_SETTINGS)
    parser.add_argument("--policies", default="all")
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--tune", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--alignment", nargs="*", help="features.alignment, in a folder of its own")
    arguments = parser.parse_args()
    if "DIDS_DATA" not in os.environ:
        parser.error("DIDS_DATA must name the folder of the instruct pack.")
    out = arguments.out.absolute()
    data = write_hard_data(Path(os.environ["DIDS_DATA"]), out / "hard-data")
    os.environ["DIDS_HARD_DATA"] = str(data)
    results = {}
    for setting in arguments.settings:
        name = setting
        config = _config(setting)
        if arguments.alignment is not None:
            config = _aligned(config, arguments.alignment)
            name = "-".join([name, *(arguments.alignment or ["none"])])
        options = ContestOptions(
            arguments.policies, arguments.seeds, arguments.tune, arguments.jobs, out / name
        )
        try:
            run_contest(config, options)
        except InputError as error:
            raise SystemExit(f"{name}: {error}") from None
        except KeyboardInterrupt:
            raise SystemExit(f"{name}: stopped; the same command goes on.") from None
        results[name] = read_json(out / name / RESULT_NAME)
    print(markdown(results))


def _config(setting: str) -> Config:
    if setting != _LARGER:
        return load_config(_HERE / f"{setting}.yaml")
    raw = load_config(_HERE / "instruct.yaml").model_dump(mode="json")
    raw["model"]["config"] |= _LARGER_MODEL
    return Config.model_validate(raw)


def _aligned(config: Config, names: list[str]) -> Config:
    """The config with these transforms between features and domains."""
    raw = config.model_dump(mode="json")
    raw["features"]["alignment"] = names or None
    return Config.model_validate(raw)


if __name__ == "__main__":
    main()
