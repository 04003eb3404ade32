"""An evaluation's batches: cases in, rows out; wherever that is done, and by whomever."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from cfcam._version import __version__
from cfcam.capture import Capture, Network, probe_layers
from cfcam.errors import CfcamError, JobError, describe_first, one_line
from cfcam.files import settings_hash
from cfcam.jobs.engine.batch import NOT_FINITE
from cfcam.jobs.engine.inference import Engine, is_out_of_memory
from cfcam.jobs.evaluate.cases import Loadable
from cfcam.jobs.evaluate.rows import Part
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.jobs.inputs.preparing import assumption_notes, prepared_for
from cfcam.methods.base import Method
from cfcam.metrics.scorecard.evaluator import Evaluator
from cfcam.metrics.scorecard.paper import PaperEvaluator
from cfcam.metrics.scorecard.samples import Row, Sample
from cfcam.models import LoadedModel, model_name
from cfcam.models.packing import packed, unpacked
from cfcam.stages import DECODE, stage

FAILURES = (CfcamError, RuntimeError, ValueError, ArithmeticError, LookupError, MemoryError)
"""What one picture may raise in a user's network; anything else is a mistake of ours, and stops the run."""


class EvaluationWork:
    """Measures batches of cases; a failure of one of them is told with its batch.

    It knows no file of the run, and can be pickled for another process or machine: the network travels as a module, see
    `cfcam.models.packing`, and is run once on noise when it arrives.

    Attributes:
        layer: the layer that is mapped.
        preprocess: what is done to each case.
        notes: what the user should know.
        batch_size: cases in one pass of the network.
        on_gpu: whether the network is on a GPU.
        evaluator: what measures.
    """

    _usual_batch_size = 8

    def _hold(self, model: LoadedModel, cases: Sequence[Loadable], settings: EvaluationSettings, output: Path) -> None:
        self._model, self.cases, self.settings, self.output = model, cases, settings, output
        self.notes: list[str] = list(model.notes)
        self.batch_size = settings.batch_size or self._usual_batch_size
        self.preprocess = self._preparation()
        self.notes += assumption_notes(self.preprocess)

    def _settle(self) -> None:
        engine = self._rehearse()
        self.on_gpu = engine.on_gpu
        self.layer = engine.layer
        self._provenance = engine.provenance()
        self._classes = self._known_classes()
        leave_out = self.settings.leave_out
        self.evaluator = self._evaluator(self._applicable(engine.methods) if leave_out else engine.methods)
        self.notes += self.evaluator.notes
        self._succeeded = False
        self._error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to measure batches; its records are entered here."""
        given = {"model": self._model, "cases": self.cases[:1], "settings": self.settings, "output": self.output}
        state = {"given": given, "sized": self._sized, "setup": self._setup()}
        return {"packed": packed(state, model_name(self._model.spec))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        sent = unpacked(state["packed"])
        self._hold(**sent["given"])
        self._sized = sent["sized"]
        self._settle()
        if settings_hash(sent["setup"]) != settings_hash(self._setup()):
            both = {**sent["setup"], **self._setup()}
            differ = [name for name in both if sent["setup"].get(name) != self._setup().get(name)]
            raise JobError(
                f"this process would not measure what the run asks for ({', '.join(differ)} differ): install the same"
                " version of cfcam, and of what the network is made of, on every machine"
            )

    # What follows is otherwise for volumes, see `cfcam.jobs.evaluate.volumes`.

    def _preparation(self) -> Any:
        """What is done to each case before the network sees it."""
        return prepared_for(self._model, self.settings.preprocess)

    def _with_size(self) -> Any:
        """The preparation, with a size of the network's input to rehearse with."""
        return self.preprocess

    def _metrics(self) -> str | tuple[str, ...]:
        """The metrics as the evaluator takes them."""
        return "all" if self.settings.metrics == ("all",) else self.settings.metrics

    def _measuring(self) -> dict[str, Any]:
        """Settings of the evaluator that depend on what it measures."""
        levels = list(zip(self.preprocess.mean, self.preprocess.std, strict=True))
        return {"black": tuple(-mean / std for mean, std in levels), "white": tuple((1 - m) / std for m, std in levels)}

    # What follows is the same for both.

    def work(self, key: str, batch: Sequence[Loadable], *, proven: bool = False) -> Part:
        """Measures cases side by side; whatever fails of them, or of the network on them, is told in the part.

        Args:
            key: what the numbers of the batch depend on, hashed.
            batch: the cases.
            proven: others were measured already, so that the set-up is right.

        Raises:
            CfcamError: nothing was measured yet, and these cannot be for a reason that lies in the set-up.
        """
        self._succeeded = self._succeeded or proven
        part = Part(key)
        samples = []
        for case in batch:
            try:
                with stage(DECODE):
                    sample = case.load(self.preprocess, self._classes, part.notes.setdefault(case.name, []).append)
            except CfcamError as error:
                part.failed[case.name] = " ".join(str(error).split())
                continue
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                part.failed[case.name] = "not enough memory to read it: make it smaller"
                continue
            if sample.label is None and self.settings.explained == "label":
                part.failed[case.name] = "it has no label, and the label is to be explained"
            else:
                samples.append(sample)
        if batch and batch[0].name == self.cases[0].name and len(samples) > 1:
            self._first_alone(samples[0], part)
            samples = samples[1:]
        self._measure(samples, part)
        if not self._succeeded and isinstance(self._error, CfcamError):
            raise self._error  # where nothing has succeeded, and the error is one of ours, all others would meet it too
        return replace(part, notes={name: lines for name, lines in part.notes.items() if lines})

    def _first_alone(self, sample: Sample, part: Part) -> None:
        """Measures the first of all cases by itself, so that it can be told how long all will take.

        What methods cost is not measured on it: that is told of a batch.
        """
        costs = self.evaluator.costs
        self.evaluator.costs = costs or {}
        self._measure([sample], part)
        self.evaluator.costs = costs
        self._heard_first(part)

    def _heard_first(self, part: Part) -> None:
        """What is done when the first case is measured, and others of its batch are not."""

    def _measure(self, samples: Sequence[Sample], part: Part) -> None:
        """Enters rows, or a failure, for each sample.

        A batch that fails is halved until the culprit stands alone; so is one of volumes of several sizes.
        """
        if not samples:
            return
        try:
            rows = self.evaluator(samples)
        except FAILURES as error:
            if len(samples) == 1:
                self._fail(samples[0], error, part)
                return
        else:
            self._enter(rows, part)
            return
        torch.cuda.empty_cache()  # the batch may have failed for lack of memory
        half = len(samples) // 2
        self._measure(samples[:half], part)
        self._measure(samples[half:], part)

    def _fail(self, sample: Sample, error: Exception, part: Part) -> None:
        self._error = error
        told = one_line(error, 240) if isinstance(error, CfcamError) else describe_first(error)
        part.failed[sample.name] = f"the network failed on it ({told})"

    def _enter(self, rows: Sequence[Row], part: Part) -> None:
        self._succeeded = True
        broken = {row.image for row in rows if not math.isfinite(row.probability)}
        part.failed.update(dict.fromkeys(sorted(broken), NOT_FINITE))
        part.rows.extend(row for row in rows if row.image not in broken)

    def _rehearse(self) -> Engine:
        """Runs the network once on noise, so that a wrong set-up shows before the first picture is read."""
        engine = Engine.of(self._model, self.settings.methods, ["predicted"], layer=self.settings.layer)
        engine.rehearse(self._sized, leave_out=self.settings.leave_out)
        self.notes += engine.notes
        return engine

    def _applicable(self, methods: Mapping[str, Method]) -> dict[str, Method]:
        """Returns the methods that give a map of noise; of the others a note is left."""
        noise = torch.randn(self._input_shape(), generator=torch.Generator().manual_seed(0))
        capture = Capture(self._network(), noise, layer=self.layer)
        kept = {}
        for name, method in methods.items():
            try:
                if not _masks_channels(method):
                    with capture.quiet():
                        method.maps(capture)
                kept[name] = method
            except CfcamError as error:
                self.notes.append(f"{name} is left out: {error}")
        return kept

    def _network(self) -> Network:
        return Network(self._model.module, self._model.probability, self._model.output)

    def _input_shape(self) -> tuple[int, ...]:
        return (1, self._sized.channels, *self._sized.input_size)

    def _known_classes(self) -> Sequence[str] | int:
        if self._model.classes is not None:
            return self._model.classes
        outputs = probe_layers(self._network(), torch.zeros(self._input_shape()))[1][-1]
        return max(2, outputs)  # a single output tells two classes apart

    def _evaluator(self, methods: Mapping[str, Method]) -> Evaluator:
        chosen = self.settings
        settings: dict[str, Any] = {
            "controls": chosen.controls,
            "layer": self.layer,
            "classes": self._model.classes,
            "probability": self._model.probability,
            "output": self._model.output,
            "threshold": chosen.threshold,
            "seed": chosen.seed,
            **self._measuring(),
        }
        if chosen.protocol is not None:
            return PaperEvaluator(self._model.module, methods, **settings)
        return Evaluator(self._model.module, methods, self._metrics(), explained=chosen.explained, **settings)

    def _setup(self) -> dict[str, Any]:
        """Everything that the numbers depend on, apart from the cases."""
        return {
            "cfcam": __version__,
            "model": {"spec": self._model.spec, **self._provenance["model"]},
            "classes": list(self._model.classes) if self._model.classes else None,
            "probability": self._provenance["probability"],
            **{key: self._provenance[key] for key in ("output",) if key in self._provenance},
            "layer": self.layer,
            "prepared": self.preprocess.told,
            "preprocess": self.preprocess.as_dict(),
            "methods": {name: method.parameters() for name, method in self.evaluator.methods.items()},
            "settings": asdict(self.evaluator.settings),
            "batch_size": self.batch_size,
        }


def _masks_channels(method: Method) -> bool:
    """Whether a method runs the network once per channel: those apply to every network, and take long to try."""
    return "channels" in method.cost
