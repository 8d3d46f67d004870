"""Mutants of a Python file: its functions with one small thing wrong, put in the place of the right ones.

A comparison, an operator, a number or a condition is another one, `min` is `max`, or a statement is gone. `assert`,
messages, annotations, decorators and defaults are left alone.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.USub: ast.UAdd,
}  # fmt: skip
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
LEFT_ALONE = (ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom, ast.arguments)
Mutant = tuple[int, str, Callable[[], None]]  # line, what is changed, and who changes it in its tree


def mutants(tree: ast.AST) -> Iterator[Mutant]:
    """Yield what may be changed in a tree, always in the same order."""
    for field, value in ast.iter_fields(tree):
        for place, node in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(node, ast.AST) or isinstance(node, LEFT_ALONE):
                continue
            if field in ("annotation", "returns", "decorator_list"):
                continue
            yield from _of_node(tree, field, place if isinstance(value, list) else None, node)
            yield from mutants(node)


def _of_node(parent: ast.AST, field: str, place: int | None, node: ast.AST) -> Iterator[Mutant]:
    def put(other: ast.AST) -> None:
        if place is None:
            setattr(parent, field, other)
        else:
            getattr(parent, field)[place] = other

    def into(text: str, other: str, change: Callable[[], None]) -> Mutant:
        return node.lineno, f"{text} -> {other}", change

    if isinstance(node, ast.Compare):
        for number, kind in enumerate(node.ops):
            if (turned := OTHER.get(type(kind))) is not None:
                yield into(ast.unparse(node), turned.__name__, partial(node.ops.__setitem__, number, turned()))
    elif isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp, ast.UnaryOp)):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield into(ast.unparse(node), "without not", partial(put, node.operand))
        elif (turned := OTHER.get(type(node.op))) is not None:
            yield into(ast.unparse(node), turned.__name__, partial(setattr, node, "op", turned()))
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield into(f"{node.value} in {ast.unparse(parent)[:80]}", str(value), partial(setattr, node, "value", value))
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in CALLS:
            key = "attr" if isinstance(node.func, ast.Attribute) else "id"
            yield into(ast.unparse(node), CALLS[name], partial(setattr, node.func, key, CALLS[name]))
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        for value in (True, False)[isinstance(node, ast.While) :]:  # a loop for ever teaches nothing
            yield into(f"if {ast.unparse(node.test)}", str(value), partial(setattr, node, "test", ast.Constant(value)))
    if isinstance(node, (ast.Break, ast.Continue)):
        other = ast.Continue() if isinstance(node, ast.Break) else ast.Break()
        yield into(ast.unparse(node), type(other).__name__, partial(put, other))
    is_name = isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Name, ast.Tuple))  # it would be missed
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)) and not is_name and not is_text:
        yield into(ast.unparse(node)[:100], "gone", partial(put, ast.Pass()))


def put_in_place(file: str, number: int) -> None:
    """Put a mutant in the place of the file's functions and values, in this process."""
    tree = ast.parse((ROOT / file).read_text())
    for place, (_, _, change) in enumerate(mutants(tree)):
        if place == number:
            change()
            break
    module = importlib.import_module(module_of(file))
    names: dict[str, Any] = {
        "__name__": module.__name__,
        "__package__": module.__package__,
        "__file__": module.__file__,
    }
    sys.modules[module.__name__], kept = ModuleType(module.__name__), module  # of dataclasses and named tuples
    sys.modules[module.__name__].__dict__.update(names)
    exec(compile(ast.fix_missing_locations(tree), str(ROOT / file), "exec"), names)
    sys.modules[module.__name__] = kept
    _replace(vars(module), names, module.__name__)


def _replace(old: dict[str, Any], new: dict[str, Any], module: str) -> None:
    """Give functions, also those that others have imported, the code of their namesakes; replace
    values."""
    for name, value in list(new.items()):
        before = old.get(name)
        while hasattr(before, "__wrapped__"):  # behind a cache
            before, value = before.__wrapped__, value.__wrapped__
        if isinstance(before, property):
            before, value = before.fget, value.fget
        if isinstance(before, FunctionType) and before.__module__ == module:
            before.__code__, before.__defaults__ = value.__code__, value.__defaults__
        elif isinstance(before, type) and before.__module__ == module:
            _replace(dict(vars(before)), dict(vars(value)), module)
        elif not (callable(value) or isinstance(value, (ModuleType, type)) or name.startswith("__")):
            old[name] = value


def module_of(file: str) -> str:
    return "orl." + file.removeprefix("orl/").removesuffix(".py").replace("/", ".")
