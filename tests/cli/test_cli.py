"""The commands end to end: what they print, their JSON, their exit codes, and how fast --help is."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tinyalign
from tests.cli.running import run
from tinyalign.cli import app


def test_help_is_fast_and_imports_neither_torch_nor_transformer_lens() -> None:
    script = (
        "import sys, tinyalign.cli as c\n"
        "sys.argv = ['tinyalign', '--help']\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'transformer_lens', 'plotly', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stderr
        assert "convert" in done.stdout
    # Processor time of the fastest of three: the machine may be busy with other tests.
    assert min(times) < 0.5


def test_importing_tinyalign_is_light() -> None:
    script = "import sys, tinyalign; assert 'torch' not in sys.modules; assert tinyalign.__version__"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_command_has_help() -> None:
    names = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert names >= {"doctor", "models", "info", "sample", "convert"}
    for command in app.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["facts"]["tinyalign"] == tinyalign.__version__
    assert {check["name"] for check in report["checks"]} >= {
        "CUDA",
        "Triton kernels",
        "CUDA decoder",
        "embedded models",
    }
    code, out, _ = run(capsys, "doctor")
    assert (code, "This machine" in out) == (0, True)


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "models", "--json")
    rows = json.loads(out)
    assert code == 0
    by_name = {row["name"]: row for row in rows}
    assert by_name["TinyStories-1M"]["d_vocab"] == 50257
    assert set(by_name["TinyStories-1M"]) >= {"parameters", "bits", "licence", "here", "source"}
    assert "needs the" in run(capsys, "models")[1]


def test_info_sample_and_convert(
    capsys: pytest.CaptureFixture[str], shared_models: Path, tmp_path: Path
) -> None:
    source = str(shared_models / "stories260K.bin")
    code, out, _ = run(capsys, "info", source, "--json")
    facts = json.loads(out)
    assert (code, facts["n_parameters"], facts["n_kv_heads"]) == (0, 260032, 4)
    assert "LlamaForCausalLM" in run(capsys, "info", source)[1]

    arguments = (
        "sample",
        source,
        "-p",
        "Once upon a time",
        "-n",
        "2",
        "--seed",
        "5",
        "--max-new-tokens",
        "12",
    )
    code, out, _ = run(capsys, *arguments, "--json")
    stories = json.loads(out)["stories"]
    assert (code, len(stories)) == (0, 2)
    assert json.loads(run(capsys, *arguments, "--json")[1])["stories"] == stories
    assert stories[0]["text"] in run(capsys, *arguments)[1]

    code, out, _ = run(capsys, "convert", source, str(tmp_path / "t"), "--bits", "1.58")
    assert code == 0
    assert "expect a much worse model" in out
    code, out, _ = run(capsys, "info", str(tmp_path / "t"), "--json")
    layers = json.loads(out)["layers"]
    assert len(layers) == 35
    assert all(layer["bits_per_weight_in_memory"] <= 2.05 for layer in layers.values())
    assert "down_proj" in run(capsys, "info", str(tmp_path / "t"))[1]
    code, out, _ = run(capsys, "convert", source, str(tmp_path / "h"), "--bits", "16", "--json")
    assert (code, json.loads(out)["bits"]) == (0, 16.0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("info", "no-such-model"), "Unknown model"),
        (("info", "absent.bin"), "No model at"),
        (("sample", "no-such-model"), "Unknown model"),
        (("convert", "no-such-model", "x"), "Unknown model"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


SAMPLE = [sys.executable, "-c", "from tinyalign.cli import main; main()", "sample", "ternary"]


def after_the_first_line(act: Callable[[subprocess.Popen[str]], object]) -> tuple[int, str]:
    """Exit code and standard error of a long run on which `act` is called once it has written a line."""
    command = [*SAMPLE, "-n", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as told:
        assert told.stdout is not None
        assert told.stderr is not None
        assert told.stdout.readline().startswith("--- 0")
        act(told)
        if not told.stdout.closed:
            told.stdout.read()
        return told.wait(timeout=60), told.stderr.read().strip()


def test_a_reader_that_goes_away_is_no_verdict() -> None:
    assert after_the_first_line(lambda told: told.stdout and told.stdout.close()) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_one_sentence() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(SAMPLE, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    sentence = "tinyalign: The output cannot be written (No space left on device): make room.\n"
    assert (done.returncode, done.stderr) == (2, sentence)


def test_ctrl_c_is_said() -> None:
    found = after_the_first_line(lambda told: told.send_signal(signal.SIGINT))
    assert found == (130, "tinyalign: interrupted")


def test_characters_that_the_terminal_lacks_and_bytes_that_are_none() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [*SAMPLE, "-p", "Zoë ☃", "--max-new-tokens", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Zo\\xeb \\u2603" in done.stdout
    done = subprocess.run([*SAMPLE, "-p", b"Zo\xff"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "holds no whole character at place 2" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_wrong_option_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "models", "--no-such-option")[0] == 2
    assert run(capsys, "no-such-command")[0] == 2


def test_rooms_and_public_names_are_reached_from_the_top() -> None:
    script = (
        "import tinyalign as ta\n"
        "assert callable(ta.models) and ta.models.load is ta.load\n"
        "assert ta.properties.get('obeys-prohibition').id == 'P1'\n"
        "assert {'load', 'models', 'properties', 'ternarize'} <= set(dir(ta))\n"
        "try: ta.nothing\n"
        "except AttributeError: pass\n"
        "else: raise SystemExit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
