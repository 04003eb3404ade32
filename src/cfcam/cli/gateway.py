"""``cfcam gateway``: objects in from a hospital's network, results back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from cfcam.cli.command import Command
from cfcam.cli.output.console import hint, out, plain, print_json
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.jobs.gateway.dry import Would
    from cfcam.jobs.gateway.settings import GatewaySettings

WORDS = ("status", "retry")
_STATES = {("tasks", "results"): "explained, and not all sent", ("results", "kept"): "kept here"}
"""How a state is told to people, where its own name could be read as something else."""


@dataclass(frozen=True, kw_only=True)
class Gateway(Command):
    """Explain what a hospital's network sends, and send results back.

    Objects come in by C-STORE, from a folder or from a DICOMweb server; rules say which network explains which; results
    go out by C-STORE or STOW-RS. Objects are kept on disk before they are acknowledged, and what was begun goes on
    after a crash. Research use only, not a medical device.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam gateway --example > gateway.toml

    cfcam gateway gateway.toml --explain studies/    (which rule, and why; nothing is done)

    cfcam gateway gateway.toml

    cfcam gateway status gateway.toml

    cfcam gateway retry gateway.toml [STUDY...]    (what was put aside)

Exit codes: 0 ended as asked · 1 failed · 2 wrong usage · 130 interrupted.
"""
    goes_on: ClassVar[bool] = True

    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[status|retry] CONFIG [STUDY...]", help="The file of settings (TOML).", show_default=False
        ),
    ] = None
    example: Annotated[bool, typer.Option("--example", help="Print a file of settings to begin with.")] = False
    explain: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Say which rule takes what is in a folder, and why; do nothing."),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print what is told as JSON.")] = False
    log_json: Annotated[bool, typer.Option("--log-json", help="Log lines as JSON, one object each.")] = False

    def __post_init__(self) -> None:
        """Looks at what the words are."""
        super().__post_init__()
        if self.example:
            return
        if not self.words:
            raise InputError("no file of settings is given: cfcam gateway --example prints one to begin with")
        if self.words[0] in WORDS and len(self.words) < 2:
            raise InputError(f"{self.words[0]}: of which gateway? Name its file of settings")
        if self.words[0] != "retry" and len(self.words) > (2 if self.words[0] in WORDS else 1):
            raise InputError(f"{self.words[-1]!r}: is one word too many; give one file of settings")

    def __call__(self) -> None:
        """Does what the words say."""
        from cfcam.jobs.gateway.settings import read_settings

        if self.example:
            from cfcam.jobs.gateway.example import example

            typer.echo(example(), nl=False)
            return
        assert self.words is not None  # noqa: S101 (looked at before)
        word, config = (self.words[0], self.words[1]) if self.words[0] in WORDS else ("", self.words[0])
        settings = read_settings(Path(config))
        if self.explain is not None:
            from cfcam.jobs.gateway.dry import would

            self._tell(*would(settings, self.explain))
        elif word == "status":
            self._status(settings)
        elif word == "retry":
            from cfcam.jobs.gateway.run import retry

            again = retry(settings, self.words[2:])
            told = "1 study is tried again" if len(again) == 1 else f"{len(again)} studies are tried again"
            print_json(again) if self.json else out().print(told)
            if missing := sorted(set(self.words[2:]) - set(again)):
                raise InputError(f"{missing[0]}: no study that was put aside is called so: see cfcam gateway status")
        else:
            self._run(settings)

    def _run(self, settings: GatewaySettings) -> None:
        import signal

        from cfcam.jobs.gateway.run import Gateway as Working
        from cfcam.log import Log

        gateway = Working(settings, Log(as_json=self.log_json))
        signal.signal(signal.SIGTERM, lambda *_: gateway.stop())
        with gateway:
            gateway.wait()

    def _status(self, settings: GatewaySettings) -> None:
        from cfcam.jobs.gateway.run import status

        found = status(settings)
        if self.json:
            print_json(found)
            return
        for name, shown in (("objects", "objects"), ("tasks", "studies"), ("results", "results")):
            states = sorted(found[name].items())
            counts = ", ".join(f"{count} {_STATES.get((name, state), state)}" for state, count in states) or "none"
            out().print(f"{shown}: {counts}")
        for one in found["held_up"]:
            out().print(plain(f"    {one['results']} results wait: {one['reason']}"), soft_wrap=True)
        for one in found["put_aside"]:
            out().print(plain(f"    {one['study']} by {one['network']}: {one['reason']}"), soft_wrap=True)

    def _tell(self, lines: list[Would], others: int) -> None:
        if self.json:
            print_json({"series": [_as_dict(one) for one in lines], "others": others})
            return
        for one in lines:
            for line in _told(one):
                out().print(plain(line), soft_wrap=True)
            for name, reason in one.decision.reasons.items():
                if name:
                    out().print(plain(f"    not {name}: {reason}"), soft_wrap=True)
        if others:
            none = "1 file is no DICOM object" if others == 1 else f"{others} files are no DICOM objects"
            hint(f"{none} with the UIDs that every object has")


def _told(one: Would) -> tuple[str, str]:
    """What a series is, and on the next line what would be done with it."""
    rule = one.decision.rule
    what = f"series {one.number}: {one.header.modality or 'no modality'}, objects {one.objects}, slices {one.slices}"
    if one.mixed:
        return what, "    objects of several patients: nothing would be done"
    if rule is None:
        return what, f"    {one.decision.why}: nothing would be done"
    way = "as one volume" if rule.by == "series" else "each object alone"
    return what, f"    rule {rule.name}: {way}, by {', '.join(rule.networks)}"


def _as_dict(one: Would) -> dict[str, object]:
    rule = None if one.mixed else one.decision.rule
    return {
        "series": one.number,
        "modality": one.header.modality,
        "objects": one.objects,
        "slices": one.slices,
        "rule": rule and rule.name,
        "networks": list(rule.networks) if rule else [],
        "why": "objects of several patients" if one.mixed else one.decision.why,
        "not": {name: reason for name, reason in one.decision.reasons.items() if name},
    }
