"""Small faults put into a source file, one at a time: what tests are tested with.

A mutant is the source with one expression or statement replaced. Strings are left alone, and so are
annotations, decorators, assertions and the words of errors: they are read by people.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.MatMult: ast.Add,
    ast.Pow: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
}
NAMES = {
    "min": "max",
    "max": "min",
    "minimum": "maximum",
    "maximum": "minimum",
    "clamp_min": "clamp_max",
    "clamp_max": "clamp_min",
    "any": "all",
    "all": "any",
    "sin": "cos",
    "cos": "sin",
    "sum": "mean",
    "mean": "sum",
}


@dataclass(frozen=True)
class Mutant:
    """One fault in one file."""

    kind: str
    line: int
    source: str
    """The whole file with the fault in it."""

    def diff(self, original: str) -> str:
        """The changed lines, as `diff` shows them."""
        lines = difflib.unified_diff(original.splitlines(), self.source.splitlines(), n=0)
        changed = (line for line in lines if not line.startswith(("---", "+++", "@@")))
        return "\n".join(f"    {line}" for line in changed)


def make_mutants(source: str) -> list[Mutant]:
    """All mutants of a file, in the order of its lines; those that do not parse are left out."""
    mutants = []
    for node, replacement, kind in _faults(ast.parse(source)):
        text = _with(source, node, replacement)
        try:
            ast.parse(text)
        except SyntaxError:  # a node whose brackets belong to its parent
            continue
        mutants.append(Mutant(kind, node.lineno, text))
    return sorted(mutants, key=lambda mutant: mutant.line)


def _with(source: str, node: ast.expr | ast.stmt, replacement: str) -> str:
    lines = source.encode().splitlines(keepends=True)  # columns count bytes
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    last = node.end_lineno - 1
    after = lines[last][node.end_col_offset :] + b"".join(lines[last + 1 :])
    return (before + replacement.encode() + after).decode()


def _faults(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    for node in _running(tree):
        if isinstance(node, ast.expr):
            for changed, kind in _of_expression(node):
                yield node, f"({ast.unparse(changed)})", kind
        elif isinstance(node, ast.stmt):
            for changed_to, kind in _of_statement(node):
                yield node, changed_to, kind


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes whose change can be seen when the program runs."""
    yield node
    for name, child in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "bases"}:
            continue
        for inner in child if isinstance(child, list) else [child]:
            if isinstance(inner, ast.AST) and not isinstance(
                inner, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom
            ):
                yield from _running(inner)


def _of_expression(node: ast.expr) -> Iterator[tuple[ast.expr, str]]:
    match node:
        case ast.Compare(left, [first, *others], comparators):
            swapped = COMPARISONS[type(first)]()
            yield ast.Compare(left, [swapped, *others], comparators), "comparison"
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
            yield ast.BinOp(left, OPERATORS[type(operator)](), right), "arithmetic"
        case ast.BoolOp(operator, values):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield ast.BoolOp(other, values), "boolean"
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield operand, "sign"
        case ast.Constant(bool(value)):
            yield ast.Constant(not value), "constant"
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1), "constant"
        case ast.Constant(float(value)):
            yield ast.Constant(value * 2 if value else 1.0), "constant"
        case ast.Call(ast.Name(name), arguments, keywords) if name in NAMES:
            yield ast.Call(ast.Name(NAMES[name]), arguments, keywords), "name"
        case ast.Call(ast.Attribute(value, name), arguments, keywords) if name in NAMES:
            yield ast.Call(ast.Attribute(value, NAMES[name]), arguments, keywords), "name"
        case ast.IfExp(_, body, orelse):
            yield body, "branch"
            yield orelse, "branch"


def _of_statement(node: ast.stmt) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Return(ast.expr() as value) if not _is(value, None):
            yield "return None", "return"
        case ast.Expr(ast.Call()):
            yield "pass", "statement left out"
        case ast.AugAssign(target, operator, value):
            name = ast.unparse(target)
            yield f"{name} = {ast.unparse(value)}", "assignment"
            if type(operator) in OPERATORS:
                other = ast.AugAssign(target, OPERATORS[type(operator)](), value)
                yield ast.unparse(other), "arithmetic"
        case ast.Assign([ast.Attribute()], value) if not (_is(value, None) or _is(value, False)):
            yield f"{ast.unparse(node.targets[0])} = None", "assignment"


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value
