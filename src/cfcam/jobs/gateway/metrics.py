"""A gateway in numbers, as Prometheus's client takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cfcam.jobs.gateway.arrivals.intake import Intake
from cfcam.jobs.gateway.arrivals.receive import Receiver
from cfcam.jobs.gateway.delivery.deliver import Deliverer
from cfcam.jobs.gateway.delivery.post import Poster
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.spool import Spool


def numbers(
    spool: Spool,
    index: Index,
    intake: Intake,
    receiver: Receiver | None,
    deliverer: Deliverer | None,
    poster: Poster | None,
    *,
    worked: Mapping[str, int],
    seconds: float,
    starts: int,
) -> Iterator[Any]:
    """Yields the metrics of a gateway.

    Args:
        spool: its folder.
        index: what is known of it.
        intake: the way in.
        receiver: of objects by C-STORE, if there is one.
        deliverer: of results, if there is one.
        poster: of Bundles, if there is one.
        worked: how many studies had which outcome.
        seconds: that work on them took.
        starts: of the process that explains.
    """
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    counts = index.counts()
    yield _labelled(GaugeMetricFamily, "cfcam_objects", "Objects in the spool.", "state", counts["objects"])
    yield _labelled(GaugeMetricFamily, "cfcam_studies", "Studies.", "state", counts["tasks"])
    yield _labelled(GaugeMetricFamily, "cfcam_results", "Results.", "state", counts["results"])
    yield _labelled(CounterMetricFamily, "cfcam_received", "Objects that were brought.", "outcome", intake.counts)
    yield _labelled(CounterMetricFamily, "cfcam_worked", "Studies that were worked on.", "outcome", worked)
    yield CounterMetricFamily("cfcam_work_seconds", "Seconds of work on studies.", value=seconds)
    yield CounterMetricFamily("cfcam_worker_starts", "Starts of the process that explains.", value=starts)
    yield GaugeMetricFamily("cfcam_waiting", "Objects that wait or are worked on.", value=intake.waiting)
    yield GaugeMetricFamily("cfcam_spool_free_bytes", "Free bytes of the spool's disk.", value=spool.free())
    if receiver is not None:
        yield _labelled(CounterMetricFamily, "cfcam_associations", "Associations.", "outcome", receiver.counts)
        yield GaugeMetricFamily("cfcam_associations_open", "Open associations.", value=receiver.associations)
    if deliverer is not None:
        yield _labelled(CounterMetricFamily, "cfcam_sent", "Results that were sent.", "outcome", deliverer.counts)
        yield GaugeMetricFamily("cfcam_place_down", "Whether results get through.", value=int(deliverer.down))
    if poster is not None:
        yield _labelled(CounterMetricFamily, "cfcam_posted", "Bundles that were posted.", "outcome", poster.counts)
        yield GaugeMetricFamily("cfcam_fhir_down", "Whether Bundles get through.", value=int(poster.down))


def _labelled(kind: Any, name: str, text: str, label: str, values: Mapping[Any, float]) -> Any:
    family = kind(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([str(value)], count)
    return family
