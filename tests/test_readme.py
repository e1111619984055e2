"""The READMEs' Python: it compiles, and what it uses of aioloader exists."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aioloader

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", *sorted((ROOT / "aioloader").rglob("README.md"))]

_BLOCK = re.compile(r"^```(?:python|py)\s*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block of Python, and where it stands."""

    place: str
    code: str


def blocks_of(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start(1)) + 1
        yield Block(f"{path.relative_to(ROOT)}:{line}", match[1])


def parse(block: Block) -> ast.Module:
    """The block's syntax tree; ``await`` and ``async for`` may stand outside of a function."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(block.code, block.place, "exec", flags=flags, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def what_does_not_exist(tree: ast.Module) -> list[str]:
    """Names taken from aioloader, and keywords given to them, that are not there."""
    known: dict[str, Any] = {"al": aioloader, "aioloader": aioloader}
    missing = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "aioloader":
            for alias in node.names:
                if hasattr(aioloader, alias.name):
                    known[alias.asname or alias.name] = getattr(aioloader, alias.name)
                else:
                    missing.append(alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _resolve(node.value, known) is not None:
            if _resolve(node, known) is None:
                missing.append(ast.unparse(node))
        elif isinstance(node, ast.Call):
            function = _resolve(node.func, known)
            if callable(function):
                parameters = inspect.signature(function).parameters
                missing += [
                    f"{ast.unparse(node.func)}({keyword.arg}=...)"
                    for keyword in node.keywords
                    if keyword.arg is not None and keyword.arg not in parameters
                ]
    return missing


def _resolve(node: ast.expr, known: dict[str, Any]) -> Any:
    """What ``node`` stands for where it is a name of aioloader or an attribute of one; else None."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _resolve(node.value, known)
        return None if owner is None else getattr(owner, node.attr, None)
    return None


BLOCKS = [block for path in READMES for block in blocks_of(path)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_readme_block_compiles_and_uses_what_exists(block: Block) -> None:
    assert what_does_not_exist(parse(block)) == []


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("import aioloader as al\nal.Loader(data, decode=al.ImageDecoder(size=(8, 8)))", []),
        ("from aioloader import Loader as L\nasync for batch in L(data, decode=None): ...", []),
        ("al.Lodaer(data)", ["al.Lodaer"]),
        ("al.errors.SampleError, al.errors.SampelError", ["al.errors.SampelError"]),
        ("al.Loader(data, decode=f, batchsize=3)", ["al.Loader(batchsize=...)"]),
        ("from aioloader import Lodaer", ["Lodaer"]),
        ("other.Lodaer(batchsize=3)", []),
    ],
)
def test_a_misspelt_name_or_keyword_is_found(code: str, missing: list[str]) -> None:
    assert what_does_not_exist(parse(Block("test", code))) == missing


def test_blocks_are_found_with_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("# x\n\n```python\na = 1\n```\n\n```bash\nls\n```\n\n```py\nb = 2\n```\n", encoding="utf-8")
    assert list(blocks_of(readme)) == [Block("README.md:4", "a = 1\n"), Block("README.md:12", "b = 2\n")]
