from __future__ import annotations

import io
import json
import re
import shlex
from contextlib import redirect_stdout

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.cli.arguments import words
from cfcam.cli.options import texts as command_texts
from cfcam.errors import InputError
from cfcam.jobs.engine import texts
from cfcam.models.demo import make_phantom
from cfcam.models.texts.text_model import MOST_TOKENS
from tests import text_networks
from tests.jobs.test_faults import another_run

pytest.importorskip("transformers")


def cfcam(*arguments):
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    for part in text_networks.vit_gpt2():
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def picture(tmp_path):
    text_networks.picture().save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def test_each_word_is_drawn_over_its_map_and_its_numbers_are_written(folder, picture, tmp_path):
    output = tmp_path / "out"
    asked = ["--prompt", "is there a nodule ?", "--text", "no nodule", "--method", "hires-cam"]
    result = cfcam("explain", picture, "-m", f"hf:{folder}", "-o", output, *asked)
    assert result.exit_code == 0, result.output
    assert "scan.png: no (" in result.stdout
    assert sorted(path.name for path in output.iterdir()) == ["scan_hires-cam_words.png", "scan_words.json"]
    written = json.loads((output / "scan_words.json").read_text())
    assert [entry["text"] for entry in written["explained"]] == ["no", "nodule"]
    assert (written["prompt"], written["text"], written["generated"]) == ("is there a nodule ?", "no nodule", False)
    assert written["grid"]["rows"] == 4
    assert np.asarray(Image.open(output / "scan_hires-cam_words.png")).shape[2] == 3


def test_the_demo_network_answers_questions_about_phantoms(tmp_path):
    Image.fromarray(make_phantom(7, findings=["effusion"], size=256).image).save(tmp_path / "chest.png")
    result = cfcam("explain", tmp_path / "chest.png", "-o", tmp_path / "out", "--prompt", "is there an effusion?")
    assert result.exit_code == 0, result.output
    assert "chest.png: yes (" in result.stdout


def test_one_answer_against_another_and_a_summary_as_json(folder, picture, tmp_path):
    asked = ["--prompt", "is there a nodule ?", "--target", "yes vs no", "--json"]
    result = cfcam("explain", picture, "-m", f"hf:{folder}", "-o", tmp_path / "out", *asked)
    assert result.exit_code == 0, result.output
    (one,) = json.loads(result.stdout)
    assert one["explained"][0]["text"] == "yes against no"
    assert [path.endswith("words.png") for path in one["files"]] == [True, False]


def test_a_picture_that_fails_is_told_of_and_the_next_is_explained(folder, picture, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    asked = ["--prompt", "", "--text", "nodule", "--target", "nodule"]
    pictures = [tmp_path / "broken.png", picture]
    result = cfcam("explain", *pictures, "-m", f"hf:{folder}", "-o", tmp_path / "out", *asked)
    assert result.exit_code == 1
    assert result.stderr.startswith("failed: broken.png: ")
    assert "Error:" not in result.stderr
    assert "1 of 2 explained" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "nodule"], "--text is what a network writes: give --prompt too"),
        (["--most-tokens", "9"], "--most-tokens is for texts that the network writes: give --prompt"),
        (["--prompt", "", "--text", "nodule", "--most-tokens", "9"], "--most-tokens is for texts that the network"),
        (["--prompt", "", "--classes", "a,b"], "--classes is for networks that classify"),
        (["--prompt", "", "--device", "cuda:99"], "the device 'cuda:99' cannot be used"),
        (
            ["--prompt", "", "--target", "lung", "--text", "nodule"],
            "'lung' was never generated: the text holds 'nodule'",
        ),
        (["--prompt", "nodule " * 40], "the network's context holds 24"),
        (["--prompt", "", "--layer", "nope"], "VisionEncoderDecoderModel has no layer 'nope'"),
    ],
)
def test_what_cannot_be_told_is_one_line(folder, picture, tmp_path, arguments, message):
    result = cfcam("explain", picture, "-m", f"hf:{folder}", "-o", tmp_path / "out", *arguments)
    assert result.exit_code in (1, 2)
    (line,) = result.stderr.splitlines()
    assert message in line


def test_texts_are_written_by_one_run_at_a_time_and_through_no_link(folder, picture, tmp_path):
    output, victim = tmp_path / "out", tmp_path / "victim"
    asked = [
        "explain",
        picture,
        "-m",
        f"hf:{folder}",
        "-o",
        output,
        "--prompt",
        "",
        "--text",
        "nodule",
        "--method",
        "hires-cam",
    ]
    output.mkdir()
    victim.write_bytes(b"theirs")
    for name in ("scan_words.json", "scan_hires-cam_words.png"):
        (output / name).symlink_to(victim)
    with another_run(output):
        told = cfcam(*asked)
    assert told.exit_code == 2
    assert "another run is at work there" in told.stderr
    assert cfcam(*asked).exit_code == 0
    assert victim.read_bytes() == b"theirs"
    assert not [path for path in output.iterdir() if path.is_symlink()]


def test_token_activation_maps_are_a_method_like_others(picture, tmp_path):
    model, processor, _ = text_networks.llava()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "llava")
    asked = ["--prompt", "what is there ?", "--text", "left nodule", "--method", "tam", "--method", "grad-cam"]
    result = cfcam("explain", picture, "-m", f"hf:{tmp_path / 'llava'}", "-o", tmp_path / "out", *asked)
    assert result.exit_code == 0, result.output
    names = ["scan_grad-cam_words.png", "scan_tam_words.png", "scan_words.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    maps = json.loads((tmp_path / "out" / "scan_words.json").read_text())["explained"][0]["maps"]
    assert list(maps) == ["tam", "grad-cam"]


def test_token_activation_maps_of_the_demo_network_are_refused_in_one_line(picture, tmp_path):
    result = cfcam("explain", picture, "-o", tmp_path / "out", "--prompt", "", "--method", "tam")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "has no logits at image tokens: TAM is for networks such as LLaVA" in line


def test_a_network_that_writes_nothing_is_one_line(picture, tmp_path):
    model, processor, tokenizer = text_networks.vit_gpt2()
    end = tokenizer.eos_token_id
    model.generation_config.suppress_tokens = [token for token in range(text_networks.vocabulary()) if token != end]
    for part in (model, processor, tokenizer):
        part.save_pretrained(tmp_path / "silent")
    result = cfcam("explain", picture, "-m", f"hf:{tmp_path / 'silent'}", "-o", tmp_path / "out", "--prompt", "")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "the text has no word: nothing was generated that could be explained (text=... gives one)" in line


def test_one_answer_against_another_is_read_alike_before_torch_and_behind_it():
    assert words.SIDES == texts.SIDES
    words.answers(["yes vs no", "left vs. right", "nodule", "canvas"])
    for wrong in ("yes vs ", "vs no", "yes vs yes"):
        with pytest.raises(InputError, match=f"--target '{wrong}': give two different answers"):
            words.answers([wrong])


@pytest.mark.parametrize(
    "given",
    [
        *("--size 64", "--mean 0.5", "--std 0.5", "--resize pad", "--window lung", "--format jpg"),
        *("--max-size 64", "--preset seeds", "--batch-size 2", "--verify", "--sliding 64"),
        *("--shard 1/2", "--log-json", "--trust-bundle"),
    ],
)
def test_an_option_that_means_nothing_for_a_text_is_refused(picture, tmp_path, given):
    result = cfcam("explain", picture, "-o", tmp_path / "out", "--prompt", "", *given.split())
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert f"{given.split()[0]} is for networks that classify: leave it out with --prompt" in line


@pytest.mark.parametrize("given", ["--html", "--store maps.zarr", "--index", "--save maps"])
def test_pages_and_stores_of_texts_are_refused_with_what_is_written_instead(picture, tmp_path, given):
    result = cfcam("explain", picture, "--prompt", "", *given.split())
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert f"error: {given.split()[0]}: with --prompt no page and no store is made, but a strip of words over" in line


def test_all_layers_are_told_by_a_command_that_knows_networks_which_write(folder, picture, tmp_path):
    words = ["explain", picture, "-m", f"hf:{folder}", "-o", tmp_path / "out", "--prompt", "", "--text", "nodule"]
    line = cfcam(*words, "--layer", "nope").stderr
    told = re.search(r"\(all: image_tokens, and with model\. before each: (.+)\)$", line.strip())
    command = shlex.split(told[1])
    assert command[:2] == ["python", "-c"]
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(command[2], {})  # noqa: S102 (it is what a user is told to run)
    assert "encoder.layers.0" in printed.getvalue().split()
    assert cfcam(*words, "--layer", "model.encoder.layers.0").exit_code == 0


def test_no_index_asks_for_what_is_done_anyway(picture, tmp_path):
    asked = ["--prompt", "", "--text", "nodule", "--no-index", "--overwrite", "--opacity", "0.4"]
    result = cfcam("explain", picture, "-o", tmp_path / "out", *asked)
    assert result.exit_code == 0, result.output


def test_a_text_that_is_cut_is_told_of_and_may_be_longer(folder, picture, tmp_path):
    assert command_texts.MOST_TOKENS == MOST_TOKENS
    asked = ["--prompt", "", "--target", "tokens", "-o", tmp_path / "out", "--most-tokens"]
    result = cfcam("explain", picture, "-m", f"hf:{folder}", *asked, "2")
    assert result.exit_code == 0, result.output
    assert "scan.png: the text is cut at 2 tokens: give more (most_tokens=, --most-tokens)" in result.stderr
    assert len(json.loads((tmp_path / "out" / "scan_words.json").read_text())["tokens"]) == 2
    cfcam("explain", picture, "-m", f"hf:{folder}", *asked, "4")
    assert len(json.loads((tmp_path / "out" / "scan_words.json").read_text())["tokens"]) == 4


def test_a_volume_is_no_picture_that_a_network_writes_about(folder, tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"\x1f\x8b" + bytes(30))
    result = cfcam("explain", tmp_path / "scan.nii.gz", "-m", f"hf:{folder}", "-o", tmp_path / "out", "--prompt", "")
    assert result.exit_code == 1
    assert "scan.nii.gz: is a NIfTI volume, and no picture; cfcam reads PNG" in " ".join(result.stderr.split())


def test_the_short_help_names_prompts_and_regions():
    result = cfcam("explain", "-h")
    assert {"--prompt", "--by-region"} <= set(re.findall(r"--[a-z-]+", result.stdout.partition("Examples")[0]))
