"""A machine of the cluster that is taken away with all its processes costs what it was doing."""

import os

import pytest
from test_engines import array_bytes, in_several_files, prepared

from dids.run.engines import in_this_process, on_ray

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own, of processes


@pytest.fixture
def cluster():
    """This machine without a core for work, and two that Ray takes for machines of one core."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'dids[ray]'")
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    memory = {"object_store_memory": 150_000_000}
    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory}
    )
    started.taken = started.add_node(num_cpus=1, **memory)
    started.add_node(num_cpus=1, **memory)
    ray.init(address=started.address, log_to_driver=False)
    started.wait_for_nodes()
    yield started
    ray.shutdown()
    started.shutdown()


def test_the_bytes_are_the_same_though_a_machine_is_lost(tmp_path, cluster):
    in_several_files(tmp_path)
    expected = array_bytes(prepared(tmp_path / "here", tmp_path, in_this_process))

    def losing_a_machine(work, shards, advance):
        for number, item in enumerate(on_ray(work, shards, advance)):
            if work.needs_model and number == 1:
                cluster.remove_node(cluster.taken, allow_graceful=False)
            yield item

    there = prepared(tmp_path / "there", tmp_path, losing_a_machine)
    assert cluster.taken not in cluster.list_all_nodes()
    assert array_bytes(there) == expected
