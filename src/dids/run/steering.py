"""A run's ``steering.yaml``: written for people to edit, checked before training, then followed."""

from dids.config.steering import Steering
from dids.ranks import from_first_rank, is_first_rank
from dids.run.workspace import Workspace
from dids.steering.file import write_steering
from dids.steering.follower import SteeringFollower, checked_steering
from dids.steering.log import SteeringLog

LOG_NAME = "steering.json"


def write_steering_file(work: Workspace) -> None:
    """Write ``steering.yaml`` with what holds now, unless it is there."""
    if not work.steering_path.exists():
        held = steering_log(work).last() or Steering.of(work.config)
        sizes = zip(work.domains.names, work.domains.size_k.tolist(), strict=True)
        write_steering(work.steering_path, held, dict(sizes))


def check_steering_file(work: Workspace) -> None:
    """Refuse a steering that cannot be kept, before anything is measured or trained.

    Raises:
        InputError: With file, line and field.
    """
    checked_steering(work.steering_path, work.known_names)


def steering_follower(work: Workspace) -> SteeringFollower:
    """What the training run asks at every round."""
    return SteeringFollower(
        work.steering_path,
        work.path("train") / LOG_NAME,
        Steering.of(work.config),
        work.known_names,
        grouping=work.domains.grouping,
        is_first_rank=is_first_rank(),
        from_first=from_first_rank,
    )


def steering_log(work: Workspace) -> SteeringLog:
    """How the run was steered so far."""
    return SteeringLog(work.path("train") / LOG_NAME)
