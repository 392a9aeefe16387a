"""The command line: ``restart-art demo | fit | sample | plot`` (also ``python -m restart_art``).

It runs without ComfyUI, on the tiny checkpoints that come with the pack. This file holds the options and
their help; the work is in ``commands.py`` (fit, sample, plot), ``demo.py`` and ``report.py``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from . import options

EPILOG = {
    "demo": """\
what it does:
  Fits ART schedules to the tiny checkpoint, for Euler, Heun and DPM++ 2M; samples digits with every sampler
  of the pack beside k-diffusion's Euler, Heun and DPM++ 2M on Karras, EDM, the best stock and ART sigmas;
  measures each against a fine reference from the same noise. One to three minutes on two CPU cores.
what it writes, into the folder --out:
  report.html      the page to look at, with its pictures beside it in images/
  results.json     the same numbers for other programs
  art-*.safetensors  the fitted schedules, for `restart-art sample` and `restart-art plot`
example:
  restart-art demo --out demo --checkpoint flow""",
    "fit": """\
what it does:
  Fits an ART schedule: the sigmas at which one solver makes the smallest error at the end of the run.
  A pilot then measures the learned schedule beside the stock ones, and the better one is kept.
  Ctrl-C stops at any moment and leaves no file.
what it writes:
  --out FILE   the schedule (safetensors: the curve, and its pilot table as JSON). Written at the very end.
  --text       the schedule as one line of text on standard output, as the ComfyUI node takes it
examples:
  restart-art fit --checkpoint flow --solver dpmpp_2m --steps 8,12,20 --out flow.safetensors
  restart-art fit --checkpoint eps --solver euler --steps 12 --text > eps-euler.txt
  restart-art fit --comfyui ~/comfy/ComfyUI --checkpoint my.safetensors --cfg 6 --out my.safetensors
  torchrun --nproc-per-node 4 -m restart_art fit --comfyui ... (the same options)""",
    "sample": """\
what it does:
  Samples digits from a tiny checkpoint and says how many model calls and seconds that took.
what it writes:
  --out PNG   one column a digit, one row a noise; every 8 x 8 picture enlarged without smoothing
examples:
  restart-art sample --sampler heun --scheduler karras --steps 12 --out digits.png
  restart-art sample --checkpoint eps --sampler restart --steps 18 --digits 0,3,7 --rows 4 --out some.png
  restart-art sample --sampler euler --scheduler art:flow.safetensors --steps 12 --out learned.png""",
    "plot": """\
what it does:
  Draws the sigmas of saved schedules, beside stock ones if you like, on a logarithmic axis.
  With --pilot it draws the error table of one fit instead.
what it writes:
  --out PNG   the picture
examples:
  restart-art plot flow.safetensors --steps 12 --baseline karras exponential --out curves.png
  restart-art plot flow.safetensors --pilot --out pilot.png""",
}


class Parser(argparse.ArgumentParser):
    """argparse that answers bad input with one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        line = " ".join(message.removeprefix("argument ").split())
        self.exit(2, f"{self.prog}: error: {line} (see: {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = Parser(
        prog="restart-art",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="RestART without ComfyUI: learn a sigma schedule for a small diffusion model,\n"
        "sample with it, and see what it changes. Start with: restart-art demo",
        epilog="Each command explains itself: restart-art demo --help",
    )
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="demo | fit | sample | plot", parser_class=Parser
    )
    _add_demo(_command(commands, "demo", "fit, sample, measure, and write a report to look at"))
    _add_fit(_command(commands, "fit", "fit an ART schedule and save it"))
    _add_sample(_command(commands, "sample", "sample digits into a PNG"))
    _add_plot(_command(commands, "plot", "draw saved schedules into a PNG"))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns the exit code: 0 done; 2 bad input, 1 something missing on the machine or a file that cannot be
    written (each one line on stderr, and nothing half-written); 130 Ctrl-C.
    """
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    if arguments.command is None:
        parser.print_help()
        return 0
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    prog = f"restart-art {arguments.command}"
    try:
        from . import commands

        return int(getattr(commands, arguments.command)(arguments))
    except options.UserError as problem:
        code, line = 2, f"error: {problem} (see: {prog} --help)"
    except ModuleNotFoundError as problem:
        code, line = 1, f"error: {problem}; install what it needs: pip install 'restart-art[demo]'"
    except OSError as problem:
        code, line = 1, f"error: cannot read or write: {problem}"
    except KeyboardInterrupt:
        code, line = 130, f"stopped; {options.STOPPED[arguments.command]}"
    print(f"{prog}: {line}", file=sys.stderr)
    return code


def _command(commands: argparse._SubParsersAction, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"restart-art {name}: {summary}.",
        epilog=EPILOG[name],
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="demo", metavar="FOLDER", help="folder to write to (default: demo)")
    parser.add_argument(
        "--checkpoint",
        type=options.choice("flow", "eps", "both"),
        default="both",
        metavar="flow|eps|both",
        help="tiny checkpoint to use (default: both)",
    )
    _add_seed(parser)
    for name in ("--quick", "--no-progress"):  # for the tests
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)


def _add_fit(parser: argparse.ArgumentParser) -> None:
    _add_checkpoint(parser)
    parser.add_argument(
        "--solver",
        type=options.choice(*options.SOLVERS),
        default="dpmpp_2m",
        metavar="|".join(options.SOLVERS),
        help="solver the schedule is for (default: dpmpp_2m)",
    )
    parser.add_argument(
        "--steps",
        type=options.step_list,
        default=(8, 12, 20),
        metavar="N,N,...",
        help="step counts to fit and measure (default: 8,12,20)",
    )
    parser.add_argument(
        "--trajectories",
        type=options.whole_number(2, 256),
        default=24,
        metavar="N",
        help="starting noises to learn from and to measure on; more cost more model calls (default: 24)",
    )
    parser.add_argument(
        "--method",
        type=options.choice("direct", "refined", "art_rl"),
        default="refined",
        metavar="refined|direct|art_rl",
        help="refined: learns from real runs, best at few steps; direct: about half the cost; "
        "art_rl: the ART paper's own learning, about thirty times the cost (default: refined)",
    )
    _add_seed(parser)
    _add_comfyui(parser)
    parser.add_argument("--out", metavar="FILE.safetensors", help="where to save the schedule")
    parser.add_argument("--text", action="store_true", help="print the schedule as one line of text")
    parser.add_argument("--no-progress", action="store_true", help=argparse.SUPPRESS)


def _add_comfyui(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "a checkpoint of ComfyUI (run with ComfyUI's own Python; under torchrun the work is split over all ranks)"
    )
    add = group.add_argument
    add("--comfyui", metavar="FOLDER", help="a ComfyUI; --checkpoint is then a name in its list of checkpoints")
    add("--positive", default="", metavar="TEXT", help="prompt (default: empty)")
    add("--negative", default="", metavar="TEXT", help="negative prompt (default: empty)")
    add("--cfg", type=options.number(0, 100), default=5.0, metavar="X", help="cfg to learn for (default: 5)")
    size = options.whole_number(64, 8192)
    add("--width", type=size, default=512, metavar="PIXELS", help="picture width (default: 512)")
    add("--height", type=size, default=512, metavar="PIXELS", help="picture height (default: 512)")
    add("--lora", type=options.lora, action="append", metavar="NAME[:STRENGTH]", help="a LoRA; may be repeated")
    add("--shift", type=options.number(0, 100), metavar="X", help="as the node ModelSamplingSD3")
    add(
        "--sampling",
        type=options.choice("eps", "v_prediction"),
        metavar="eps|v_prediction",
        help="as the node ModelSamplingDiscrete",
    )
    add("--comfyui-args", default="", metavar="'...'", help="ComfyUI's own options, such as '--lowvram'")


def _add_sample(parser: argparse.ArgumentParser) -> None:
    _add_checkpoint(parser)
    parser.add_argument(
        "--sampler",
        type=options.choice(*options.SAMPLERS),
        default="restart",
        metavar="NAME",
        help=f"one of {', '.join(options.SAMPLERS)} (default: restart)",
    )
    parser.add_argument(
        "--scheduler",
        default="karras",
        metavar="NAME",
        help="karras, edm, exponential, another stock schedule of the model (simple, normal, ddim_uniform), "
        "or art:FILE for a saved schedule (default: karras)",
    )
    parser.add_argument(
        "--steps",
        type=options.whole_number(1, 1000),
        default=12,
        metavar="N",
        help="steps of the sampler (default: 12)",
    )
    _add_seed(parser)
    parser.add_argument(
        "--digits",
        type=options.digit_list,
        default=tuple(range(10)),
        metavar="LIST",
        help="digits to draw, for example 0-9 or 1,3,7 (default: 0-9)",
    )
    parser.add_argument(
        "--rows",
        type=options.whole_number(1, 64),
        default=2,
        metavar="N",
        help="pictures of each digit (default: 2)",
    )
    parser.add_argument("--out", required=True, metavar="PNG", help="picture to write")


def _add_plot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="schedules saved by `restart-art fit`")
    parser.add_argument(
        "--steps",
        type=options.whole_number(1, 1000),
        default=12,
        metavar="N",
        help="steps to draw (default: 12)",
    )
    parser.add_argument(
        "--baseline",
        nargs="+",
        type=options.choice(*options.BASELINES),
        default=(),
        metavar="NAME",
        help=f"stock schedules to draw beside them: {', '.join(options.BASELINES)}",
    )
    parser.add_argument("--pilot", action="store_true", help="draw the error table of one fit instead")
    parser.add_argument("--out", required=True, metavar="PNG", help="picture to write")


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint",
        default="flow",
        metavar="flow|eps|PATH",
        help="tiny checkpoint: one of the pack's two, or a file of the same kind (default: flow)",
    )


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed",
        type=options.whole_number(0, 2**63 - 1),
        default=0,
        metavar="N",
        help="seed of all noise; the same seed gives the same result (default: 0)",
    )
