import json

from typer.testing import CliRunner

from cfcam.cli.app import app
from tests.jobs.world import folder_of, run


def test_a_status_is_printed_for_people_and_for_programs(tmp_path):
    folder_of(tmp_path / "in", 3)
    list(run(tmp_path / "in", tmp_path / "out"))
    said = CliRunner().invoke(app, ["status", str(tmp_path / "out")])
    assert said.exit_code == 0
    assert said.stdout.startswith("explain, finished: 3 of 3 (100 %)")
    values = json.loads(CliRunner().invoke(app, ["status", str(tmp_path / "out"), "--json"]).stdout)
    assert (values["job"], values["state"], values["inputs"], values["done"]) == ("explain", "finished", 3, 3)


def test_what_is_no_output_of_a_run_is_told_in_one_line(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        said = CliRunner().invoke(app, ["status", str(place)])
        assert said.exit_code == 2
        assert len(said.stderr.strip().splitlines()) == 1
