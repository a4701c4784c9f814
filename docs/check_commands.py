"""Checks that the commands in README and docs parse and that the files they name exist.

Command: python docs/check_commands.py   (run by tests/test_docs.py)

Every line of a code block and every inline code that begins with `python`, `fluoro`,
`make`, `pip` or `bash` is read. Configs are loaded with their overrides; nothing runs.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `configs` and `launch` are not part of the wheel

PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md")
FIRST = ("python", "fluoro", "make", "pip", "bash")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
FILE = re.compile(
    r"\b(?:fluoro_jax|configs|launch|tests|docs)/[\w./-]+\.(?:py|md|png|csv|sh|sbatch)"
)
TARGET = re.compile(r"^([\w-]+):", re.M)
PLACEHOLDER = {  # a value that parses, for the words that stand for a user's own
    "PRESET": "smoke",
    "WHAT": "generator",
    "NAME": "name",
}


def problems() -> list[str]:
    """Returns one line for each command that does not parse or file that is missing."""
    found = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(ROOT).as_posix()
        for command in commands(text):
            problem = check(command)
            if problem:
                found.append(f"{name}: `{command}`: {problem}")
        for path in links(text):
            if not (page.parent / path).exists() and not (ROOT / path).exists():
                found.append(f"{name}: no {path}")
    return found


def pages() -> Iterator[Path]:
    """Yields every page that is checked."""
    for pattern in PAGES:
        yield from sorted(ROOT.glob(pattern))


def commands(text: str) -> Iterator[str]:
    """Yields the commands of a page, continued lines joined, comments removed."""
    lines = []
    for language, block in FENCE.findall(text):
        if language in ("", "sh", "bash", "console"):
            lines += block.replace("\\\n", " ").splitlines()
    lines += INLINE.findall(FENCE.sub("", text))
    for line in lines:
        words = re.sub(r"^(?:[A-Z_]+=\S+ |\$ |\.venv/bin/)+", "", line.strip())
        words = re.split(r"\s+#|\s\.\.\.|\s[|>&]", words)[0].strip()
        words = words.replace("[-", "-").replace("] ", " ")  # optional flags
        if words.split(" ")[0] in FIRST and " " in words:
            yield words


def links(text: str) -> Iterator[str]:
    """Yields the files that a page links to or names by their path."""
    yield from LINK.findall(text)
    yield from FILE.findall(text)


def check(command: str) -> str:
    """Returns what is wrong with a command, or an empty string."""
    for word, value in PLACEHOLDER.items():
        command = re.sub(rf"\b{word}\b", value, command)
    try:
        program, *words = shlex.split(command)
    except ValueError as error:
        return str(error)
    if program == "make":
        targets = TARGET.findall((ROOT / "Makefile").read_text())
        missing = [w for w in words if "=" not in w and w not in targets]
        return f"no target {missing[0]}" if missing else ""
    if program == "fluoro":
        return _verb(words)
    if program == "python":
        return _python(words)
    scripts = [w for w in words if w.endswith((".sh", ".sbatch"))]
    return "".join(f"no {w}" for w in scripts if not (ROOT / w).exists())


def _python(words: list[str]) -> str:
    if words[0] != "-m":
        return "" if (ROOT / words[0]).exists() else f"no {words[0]}"
    module, arguments = words[1], words[2:]
    if module == "pytest":
        paths = [w for w in arguments if w.startswith("tests")]
        return "".join(f"no {w}" for w in paths if not (ROOT / w).exists())
    path = ROOT.joinpath(*module.split("."))
    if not path.with_suffix(".py").exists() and not path.is_dir():
        return f"no module {module}"
    if module == "launch.benchmark":
        from launch import benchmark

        peers = [w for w in arguments if w.startswith("--peers=")]
        named = [p for w in peers for p in w.partition("=")[2].split(",")]
        unknown = [p for p in named if p not in benchmark.ALL_PEERS]
        if unknown:
            return f"no peer {unknown[0]}"
        rest = [w for w in arguments if w not in peers]  # they may not be installed
        return _parsed(lambda: benchmark.parse(rest))
    from fluoro_jax.cli import commands as launched

    verb = module.removeprefix("launch.")
    if module.startswith("launch.") and verb in launched.VERBS:
        return _parsed(lambda: launched.parse(verb, arguments))
    return ""


def _verb(words: list[str]) -> str:
    from fluoro_jax.cli import commands as launched
    from fluoro_jax.cli import main

    if words[0] in launched.VERBS:
        return _parsed(lambda: launched.parse(words[0], words[1:]))
    return _parsed(lambda: _known(main.parser(), words))


def _known(parser: argparse.ArgumentParser, words: list[str]) -> None:
    _, rest = parser.parse_known_args(words)
    if rest:
        raise ValueError(f"unknown {rest[0]}")


def _parsed(parse: Callable[[], object]) -> str:
    try:
        parse()
    except (ValueError, SystemExit) as error:
        return str(error).splitlines()[0]
    return ""


if __name__ == "__main__":
    wrong = problems()
    print("\n".join(wrong) or "every command parses and every file is there")
    sys.exit(bool(wrong))
