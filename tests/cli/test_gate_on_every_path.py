"""Whatever commands are given, and in whatever order: what is known to be refused is never submitted unasked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from orchestrator.cli.main import run_command
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import Batch, ThreadedSimulator

UNCHECKED = "--no-media-check"
#: Everything by which a job may come to review, by name; `None` is a journal that was lost.
STEPS: dict[str, tuple[str, ...] | None] = {
    "run": ("run", "{manifest}", UNCHECKED),
    "run with the media check": ("run", "{manifest}"),
    "run --submit": ("run", "{manifest}", UNCHECKED, "--submit"),
    "run --submit --skip-invalid": ("run", "{manifest}", "--submit", "--skip-invalid"),
    "submit": ("submit", "studio"),
    "submit by name": ("submit", "studio", "--entry", "bad"),
    "retry": ("retry", "studio", UNCHECKED),
    "retry --submit": ("retry", "studio", UNCHECKED, "--submit"),
    "retry by name": ("retry", "studio", UNCHECKED, "--submit", "--entry", "bad"),
    "adopt": ("run", "{manifest}", UNCHECKED, "--on-existing", "adopt"),
    "adopt and submit": ("run", "{manifest}", UNCHECKED, "--submit", "--on-existing", "adopt"),
    "update": ("run", "{manifest}", UNCHECKED, "--submit", "--on-change", "update"),
    "validate": ("validate", "{manifest}"),
    "lose the journal": None,
}
#: Rules that refuse a film: cut, too small, too short.
FAULTS = ("P01", "P09", "P08")


def spoil(path: Path, fault: str) -> None:
    """Damage the film at *path* in a way that only the media check sees."""
    content = bytearray(path.read_bytes())
    if fault == "P01":
        content = content[:-2000]
    elif fault == "P09":
        place = content.index(b"avc1", 64) + 4 + 24
        content[place : place + 4] = (1280).to_bytes(2, "big") + (720).to_bytes(2, "big")
    else:
        # The clocks of all tracks run ten times as fast.
        place = -1
        while (place := content.find(b"mdhd", place + 1)) >= 0:
            clock = slice(place + 16, place + 20)
            content[clock] = (10 * int.from_bytes(content[clock], "big")).to_bytes(4, "big")
    path.write_bytes(content)


@contextmanager
def studio(fault: str, *, is_submit_in_manifest: bool) -> Iterator[tuple[Batch, Simulator]]:
    """A good and a bad avatar, with a service and a home of their own."""
    folder = Path(tempfile.mkdtemp())
    running = ThreadedSimulator(SimulatorOptions(), folder / "simulator")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**running.environment, "HOME": str(folder)}.items():
            patch.setenv(name, value)
        (folder / "studio").mkdir()
        batch = Batch(folder / "studio", {"submit": True} if is_submit_in_manifest else {})
        batch.write(batch.entry("good"), batch.entry("bad"))
        spoil(batch.folder / "bad.mp4", fault)
        try:
            yield batch, running.simulator
        finally:
            running.stop()
            shutil.rmtree(folder)


def call(batch: Batch, step: str) -> None:
    """Do the *step*; how it ends is not what is asked here."""
    arguments = STEPS[step]
    if arguments is None:
        for journal in batch.folder.parent.rglob("*.db*"):
            journal.unlink()
    else:
        run_command([argument.format(manifest=batch.manifest) for argument in arguments])


def in_review(simulator: Simulator) -> set[str]:
    """Whose jobs the service was asked to review."""
    return {job.name for job in simulator.all_jobs if job.state != "WAIT_FILE_UPLOAD"}


@settings(
    max_examples=15,
    deadline=None,
    # An example is a service and its batch: shrinking would start hundreds of them.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
@given(
    steps=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=5),
    fault=st.sampled_from(FAULTS),
    is_submit_in_manifest=st.booleans(),
)
@example(steps=["run --submit", "retry by name", "submit"], fault="P08", is_submit_in_manifest=False)
@example(steps=["run", "retry --submit", "submit by name"], fault="P09", is_submit_in_manifest=True)
@example(
    steps=["run", "lose the journal", "adopt", "submit", "adopt and submit"],
    fault="P01",
    is_submit_in_manifest=True,
)
@pytest.mark.long
@pytest.mark.timeout(300)
def test_nothing_refused_is_submitted_whatever_is_called(
    steps: list[str], fault: str, is_submit_in_manifest: bool
) -> None:
    """Until it is asked for by name, by which the same job is submitted."""
    with studio(fault, is_submit_in_manifest=is_submit_in_manifest) as (batch, simulator):
        for step in steps:
            call(batch, step)
            assert "bad" not in in_review(simulator), step

        anyway = ("--submit", "--submit-anyway", "--on-existing", "adopt")
        run_command(["run", str(batch.manifest), UNCHECKED, *anyway])
        assert in_review(simulator) == {"good", "bad"}
