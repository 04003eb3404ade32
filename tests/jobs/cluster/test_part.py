"""How inputs are shared out."""

import pytest

from cfcam.jobs.cluster.part import Part, id_of, size_of_parts
from cfcam.jobs.cluster.workers import Lost


@pytest.mark.parametrize(
    ("inputs", "workers", "batch", "size"),
    [(100_000, 2, 8, 32), (1, 2, 8, 8), (64, 2, 8, 16), (64, 8, 8, 8), (1000, 4, 1, 4)],
)
def test_parts_are_whole_batches_and_two_or_more_for_each_worker(inputs, workers, batch, size):
    assert size_of_parts(inputs, workers, batch) == size


def test_the_same_inputs_under_the_same_settings_are_the_same_part():
    assert id_of("s", ["a", "b"]) == id_of("s", iter(["a", "b"]))
    assert len({id_of("s", ["a", "b"]), id_of("t", ["a", "b"]), id_of("s", ["b", "a"]), id_of("s", ["ab"])}) == 4
    assert len(id_of("s", ["\udc80"])) == 24


def test_two_workers_or_four_machines_lost_at_an_input_alone_are_enough():
    part = Part("id", ())
    assert Lost(with_node=False).blame(part, ["a"]) == []
    assert Lost(with_node=True).blame(part, ["b"]) == []
    assert Lost(with_node=False).blame(part, ["a"]) == ["a"]
    assert [Lost(with_node=True).blame(part, ["b"]) for _ in range(3)] == [[], [], ["b"]]
