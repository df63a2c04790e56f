"""With several ranks the first reads and everyone steers alike."""

import numpy as np
from given_names import NAMES
from training.ranks import on_ranks

from dids.config.steering import Steering
from dids.errors import InputError
from dids.ranks import from_first_rank, rank
from dids.steering.file import write_steering
from dids.steering.follower import SteeringFollower


def steered(folder):
    run = SteeringFollower(
        # Only the first rank has the file, as where folders are not shared.
        folder / ("steering.yaml" if rank() == 0 else "nowhere.yaml"),
        folder / f"steering-{rank()}.json",
        Steering(),
        NAMES,
        is_first_rank=rank() == 0,
        from_first=from_first_rank,
    )
    floors = []
    for number in range(3):
        if number == 1 and rank() == 0:
            (folder / "steering.yaml").write_text("mixture: {floor: 0.5}\n")
        run.look(number)
        found = run.for_round(number, step=number, tokens=number)
        floors.append(float(found.limits.lower_k[0]))
    return floors, (folder / f"steering-{rank()}.json").exists()


def refused(folder):
    impossible = Steering.from_json({"mixture": {"domains": {"*": {"pin": 0.5}}}})
    run = SteeringFollower(
        folder / "no.yaml", folder / "log.json", impossible, NAMES,
        is_first_rank=rank() == 0, from_first=from_first_rank,
    )  # fmt: skip
    try:
        run.for_round(0, step=0, tokens=0)
    except InputError as error:
        return str(error)
    return None


def test_the_first_rank_reads_and_records_for_all(tmp_path):
    write_steering(tmp_path / "steering.yaml", Steering(), {})
    results = on_ranks(tmp_path / "ranks", 2, steered, tmp_path)
    floors = [[0.0625, 0.125, 0.125]] * 2
    np.testing.assert_array_equal([result[0] for result in results], floors)
    assert [result[1] for result in results] == [True, False]


def test_what_the_first_rank_refuses_stops_all(tmp_path):
    first, second = on_ranks(tmp_path / "ranks", 2, refused, tmp_path)
    assert "mixture.domains.*.pin" in first
    assert first == second
