"""The command line: its help, its complaints, and fit -> file -> plot -> sample on the tiny checkpoint."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from restart_art.cli import build_parser, commands, main
from restart_art.cli.options import UserError, digit_list, output_file, step_list
from restart_art.schedules import ArtSchedule

FIT = ["fit", "--checkpoint", "flow", "--solver", "euler", "--steps", "4", "--trajectories", "3", "--no-progress"]


def said(capsys, argv):
    code = main([str(part) for part in argv])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture(scope="module")
def schedule_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "flow.safetensors"
    assert main([*FIT, "--out", str(path)]) == 0
    return path


@pytest.mark.parametrize("command", ["demo", "fit", "sample", "plot"])
def test_help_explains_what_it_does_and_writes_with_an_example(capsys, command):
    code, out, err = said(capsys, [command, "--help"])
    assert (code, err) == (0, "")
    assert "what it does:" in out
    assert "what it writes" in out
    assert f"restart-art {command}" in out.partition("example")[2]
    assert "--out" in out
    assert max(map(len, out.splitlines())) <= 110


def test_without_a_command_it_lists_them(capsys):
    code, out, _ = said(capsys, [])
    assert code == 0
    for command in ("demo", "fit", "sample", "plot"):
        assert f"\n    {command} " in out


def test_every_example_in_the_help_parses():
    from restart_art.cli import EPILOG

    examples = [line.strip() for text in EPILOG.values() for line in text.splitlines()]
    examples = [line.partition(" > ")[0] for line in examples if line.startswith("restart-art ")]
    assert len(examples) >= 8
    for example in examples:
        build_parser().parse_args(example.split()[1:])


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["demo", "--checkpoint", "sdxl"], ["--checkpoint", "'sdxl'", "flow, eps, both"]),
        (["demo", "--seed", "-1"], ["--seed", "'-1'", "whole number from 0"]),
        (["demo", "--seed", str(2**63)], ["--seed", "9223372036854775808", "to 9223372036854775807"]),
        (["demo", "--out", "here.txt/demo"], ["--out", "here.txt/demo", "allowed: a folder"]),
        (["fit"], ["--out", "--out FILE.safetensors, or --text"]),
        (["fit", "--solver", "euler_ancestral", "--text"], ["--solver", "'euler_ancestral'", "euler, heun, dpmpp_2m"]),
        (["fit", "--steps", "0", "--text"], ["--steps", "'0'", "1 to 1000"]),
        (["fit", "--steps", "8,x", "--text"], ["--steps", "'8,x'", "8,12,20"]),
        (["fit", "--steps", "1,2,3,4,5,6,7,8,9", "--text"], ["--steps", "holds 9", "1 to 8 whole numbers"]),
        (["fit", "--trajectories", "1", "--text"], ["--trajectories", "'1'", "from 2"]),
        (["fit", "--out", "a.pt"], ["--out", "'a.pt'", ".safetensors"]),
        (["fit", "--out", "missing/a.safetensors"], ["--out", "missing folder"]),
        (["fit", "--checkpoint", "no.safetensors", "--text"], ["'no.safetensors'", "flow, eps", "--comfyui"]),
        (["fit", "--checkpoint", "here.txt", "--text"], ["--checkpoint", "'here.txt'", "not a tiny checkpoint"]),
        (["sample", "--sampler", "magic", "--out", "a.png"], ["--sampler", "'magic'", "restart"]),
        (["sample", "--scheduler", "magic", "--out", "a.png"], ["--scheduler", "'magic'", "karras", "art:FILE"]),
        (["sample", "--scheduler", "art:nothing", "--out", "a.png"], ["--scheduler", "'nothing'", "restart-art fit"]),
        (["sample", "--scheduler", "art:here.txt", "--out", "a.png"], ["--scheduler", "'here.txt'", "not a schedule"]),
        (["sample", "--digits", "7-3", "--out", "a.png"], ["--digits", "'7-3'", "0-9"]),
        (["sample", "--steps", "1.5", "--out", "a.png"], ["--steps", "'1.5'", "1 to 1000"]),
        (["sample", "--out", "a.jpg"], ["--out", "'a.jpg'", ".png"]),
        (["sample"], ["--out", "required"]),
        (["plot", "here.txt", "--out", "a.png"], ["FILE", "'here.txt'", "not a schedule"]),
        (["plot", "nothing", "--out", "a.png"], ["FILE", "'nothing'", "restart-art fit"]),
        (["plot", "here.txt", "--out", "a.png", "--baseline", "beta"], ["--baseline", "'beta'", "karras, edm"]),
        (["paint"], ["'paint'", "demo"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_that_names_it(capsys, tmp_path, monkeypatch, argv, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").write_text("not what you want")
    code, out, err = said(capsys, argv)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    for part in named:
        assert part in err
    assert [path.name for path in tmp_path.iterdir()] == ["here.txt"]


def test_the_folder_of_saved_schedules_is_made(tmp_path):
    """Before ComfyUI saved one, models/art_schedules is not there, and it is where a fit's file belongs."""
    (tmp_path / "models").mkdir()
    wanted = tmp_path / "models" / "art_schedules" / "a.safetensors"
    assert output_file("--out", str(wanted), ".safetensors") == wanted
    assert wanted.parent.is_dir()
    with pytest.raises(UserError, match="missing folder"):  # no models folder: a mistyped path, not a ComfyUI
        output_file("--out", str(tmp_path / "model" / "art_schedules" / "a.safetensors"), ".safetensors")


def test_a_python_without_what_comfyui_needs_is_told_which_one_to_take(tmp_path):
    (tmp_path / "comfy").mkdir()
    for name in ("main.py", "comfy/samplers.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "comfy" / "options.py").write_text("import a_library_of_comfyui")
    command = [sys.executable, "-m", "restart_art", "fit", "--comfyui", str(tmp_path), "--checkpoint", "a", "--text"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (run.returncode, run.stdout) == (2, "")
    for part in ("'a_library_of_comfyui'", "the one that runs ComfyUI", str(tmp_path / ".venv")):
        assert part in run.stderr
    assert "Traceback" not in run.stderr


def test_lists_of_steps_and_digits():
    assert step_list("20,8, 12,8") == (8, 12, 20)
    assert digit_list("0-3,7") == (0, 1, 2, 3, 7)
    assert digit_list("5,5") == (5, 5)


def test_fit_saves_a_schedule_and_reports_its_cost(capsys, schedule_file):
    schedule = ArtSchedule.load(schedule_file)
    assert schedule.solver == "euler"
    assert schedule.process == "flow"
    assert schedule.model_name == "tiny flow"
    assert schedule.report["model_evaluations"] > 0
    assert [path.name for path in schedule_file.parent.iterdir()] == [schedule_file.name]


def test_fit_as_text_is_one_line_that_reads_back(capsys, schedule_file):
    code, out, err = said(capsys, [*FIT, "--text"])
    assert code == 0
    assert len(out.splitlines()) == 1
    assert ArtSchedule.from_text(out).sigmas(4).tolist() == ArtSchedule.load(schedule_file).sigmas(4).tolist()
    assert "Mean end error by steps" in err
    assert "model evaluations to fit" in err


def test_plot_and_sample_use_the_saved_schedule(capsys, tmp_path, schedule_file):
    picture, pilot, digits = tmp_path / "curve.png", tmp_path / "pilot.png", tmp_path / "digits.png"
    code, _, err = said(capsys, ["plot", schedule_file, "--baseline", "karras", "edm", "--out", picture])
    assert (code, err) == (0, "")
    code, _, err = said(capsys, ["plot", schedule_file, "--pilot", "--out", pilot])
    assert (code, err) == (0, "")
    for path in (picture, pilot):
        with Image.open(path) as image:
            assert image.size == (640, 400)
    argv = ["sample", "--sampler", "euler", "--scheduler", f"art:{schedule_file}", "--steps", "4", "--out", digits]
    code, out, err = said(capsys, [*argv, "--digits", "1,7", "--rows", "3"])
    assert (code, err) == (0, "")
    assert "4 model calls a picture in 4 rounds" in out
    with Image.open(digits) as image:
        assert image.size == (2 * 68 + 4, 3 * 68 + 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "digits.png", "pilot.png"]


def test_sampling_is_the_same_for_the_same_seed_and_warns_of_a_schedule_for_another_model(
    capsys, tmp_path, schedule_file
):
    argv = ["sample", "--checkpoint", "eps", "--sampler", "restart", "--steps", "4", "--digits", "3", "--rows", "1"]
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for path, seed in zip(files, (1, 1, 2), strict=True):
        assert said(capsys, [*argv, "--seed", seed, "--out", path])[0] == 0
    first, second, third = (path.read_bytes() for path in files)
    assert first == second
    assert first != third
    code, _, err = said(capsys, [*argv, "--scheduler", f"art:{schedule_file}", "--out", tmp_path / "d.png"])
    assert code == 0
    assert "note:" in err
    assert "flow" in err


@pytest.mark.parametrize(
    "sampler", ["euler", "heun", "dpmpp_2m", "restart", "randomized_midpoint", "parallel_midpoint"]
)
def test_every_sampler_draws(capsys, tmp_path, sampler):
    argv = ["sample", "--sampler", sampler, "--steps", "2", "--digits", "0", "--rows", "1", "--out", tmp_path / "a.png"]
    code, out, _ = said(capsys, argv)
    assert code == 0
    assert "Saved:" in out


def test_ctrl_c_during_a_fit_leaves_no_file(capsys, tmp_path, monkeypatch):
    calls = []

    def stage(self, *_):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(commands.Bars, "stage", stage)
    code, out, err = said(capsys, [*FIT, "--out", tmp_path / "a.safetensors"])
    assert (code, out) == (130, "")
    assert "stopped; no schedule was written" in err
    assert list(tmp_path.iterdir()) == []


def test_what_was_learned_is_not_lost_when_the_disk_is_full(capsys, tmp_path, monkeypatch, schedule_file):
    """Its text is printed, so that a fit of hours is not for nothing."""
    learned = ArtSchedule.load(schedule_file)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(commands, "fit_checkpoint", lambda *_, **__: learned)
    monkeypatch.setattr(os, "fsync", full)
    for asked in ([], ["--text"]):
        code, out, err = said(capsys, [*FIT, "--out", tmp_path / "a.safetensors", *asked])
        assert code == 1
        assert "No space left on device" in err
        assert ("The schedule as text" in err) == (not asked)
        assert ArtSchedule.from_text(out.splitlines()[-1]) == learned
        assert len([line for line in out.splitlines() if line.startswith("{")]) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_real_interrupt_ends_the_process_with_130(tmp_path):
    argv = [
        sys.executable,
        "-m",
        "restart_art",
        *FIT[:-1],
        "--steps",
        "40,80",
        "--out",
        str(tmp_path / "a.safetensors"),
    ]
    # A child of a shell's background job may inherit "ignore" for this signal.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += f"sys.argv = {argv[2:]!r}; from restart_art.cli import main; sys.exit(main({argv[3:]!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ}
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()  # the first stage is announced when the fit has begun
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130, line + rest
    assert "stopped; no schedule was written." in rest
    assert list(tmp_path.iterdir()) == []
