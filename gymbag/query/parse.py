# SPDX-License-Identifier: LGPL-3.0-or-later
"""Text to a tree of our own, through a whitelist; nothing is ever evaluated here.

Python's own parser reads the text, and each of its nodes is then either translated into one of
those in `gymbag.query.tree` or refused by name. So a query is as harmless as data, wherever it
came from. This module knows neither fields nor functions; `gymbag.query.plan` gives the names
a meaning.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Set
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from gymbag.errors import QueryError
from gymbag.query.caret import complaint
from gymbag.query.tree import Call, Chain, Given, Junction, Listing, Node, Path, Scalar

MAX_LENGTH = 10_000
MAX_PARTS = 1_000
MAX_DEPTH = 50
MAX_KEYS = 100
MAX_ITEMS = 1_000_000
"""Of a parameter that is a collection; Python can make ``range(10**12)``, and nobody read it."""

_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
_JUNCTIONS: dict[type[ast.AST], str] = {
    ast.And: "and",
    ast.Or: "or",
    ast.Not: "not",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.Invert: "~",
}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_REFUSED: dict[type[ast.AST], str] = {
    ast.Lambda: "a lambda",
    ast.GeneratorExp: "a generator expression",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "an f-string",
    ast.IfExp: "a conditional expression",
    ast.Dict: "a dict",
    ast.Tuple: "a tuple outside `in`",
    ast.List: "a list outside `in`",
    ast.Set: "a set outside `in`",
    ast.Starred: "a star",
    ast.Yield: "a yield",
    ast.YieldFrom: "a yield",
    ast.Await: "an await",
    ast.Slice: "a slice outside a path",
}
_FOREIGN = {
    "&&": "and",
    "AND": "and",
    "||": "or",
    "OR": "or",
    "!": "not",
    "NOT": "not",
    "<>": "!=",
    "===": "==",
    "=>": ">=",
    "=<": "<=",
    "=": "==",
}
"""What other languages write, and what to write here."""
_NEWLINE = re.compile(r"\r\n|\r|\n")
_FOREIGN_WORD = re.compile(r"&&|\|\||<>|===|=>|=<|!(?!=)|(?<![=!<>:])=(?!=)|\b(?:AND|OR|NOT)\b")


Constants: TypeAlias = Scalar | tuple[Scalar, ...]


def parse(text: str, params: Mapping[str, Constants]) -> tuple[Node, set[str]]:
    """Return the tree of `text`, and which parameters it uses; their values are in the tree.

    >>> tree, used = parse("reward > t", {"t": 0.5})
    >>> tree.operands
    (Path(keys=('reward',), places=(0,)), Given(value=0.5, at=9))

    Raises:
        QueryError: The text is no query.
    """
    if not isinstance(text, str):
        raise QueryError(f"expected a text, such as 'reward > 0'; found {type(text).__name__}")
    if len(text) > MAX_LENGTH:
        message = f"a query has at most {MAX_LENGTH} characters; found {len(text)}"
        raise complaint(text[: MAX_LENGTH + 88], message, MAX_LENGTH)
    parser = _Parser(text, params)
    return parser.read(), parser.used


def constants(params: Mapping[str, Any]) -> dict[str, Constants]:
    """Return parameters as constants, whatever becomes of the objects that were given.

    Raises:
        QueryError: One is no value that a query can have.
    """
    return {name: _parameter(name, value) for name, value in params.items()}


def _scalar(value: Any) -> Scalar | None:
    """Return `value` as a plain constant, or None if it is none."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    if not isinstance(value, int):
        return None
    try:
        float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return int(value)


def _parameter(name: str, value: Any) -> Constants:
    """Return a parameter as a constant, or as a tuple of constants."""
    constant = _scalar(value)
    if constant is not None:
        return constant
    expected = "expected a number, a bool, text, or a flat collection of those"
    if not isinstance(value, Collection) or isinstance(value, Mapping | bytes | bytearray):
        raise QueryError(f"parameter {name!r}: {expected}; found {type(value).__name__}")
    items = []
    try:
        # One more than may be, and not what its `len` says, which need not be true.
        found = list(islice(value, MAX_ITEMS + 1))
    except Exception as error:  # it is an object of a class that may do anything
        raise QueryError(f"parameter {name!r}: {expected}; it fails with {error!r:.100}") from error
    for item in found:
        constant = _scalar(item)
        if constant is None:
            raise QueryError(f"parameter {name!r}: {expected}; found {type(item).__name__} in it")
        items.append(constant)
    if len(items) > MAX_ITEMS:
        raise QueryError(f"parameter {name!r}: has more than {MAX_ITEMS} items; split the question")
    # The order of a set of text differs from process to process, and a plan's repr must not.
    return tuple(sorted(items, key=repr) if isinstance(value, Set) else items)


class _Parser:
    """Translates one text."""

    def __init__(self, text: str, params: Mapping[str, Constants]) -> None:
        self.text = text
        self.params = params
        self.used: set[str] = set()
        self.parts = 0
        # In parentheses a query may span lines, and the newline ends a comment.
        self.wrapped = f"({text}\n)"
        self.lines = _NEWLINE.split(self.wrapped)
        self.starts = [0, *(match.end() for match in _NEWLINE.finditer(self.wrapped))]

    def read(self) -> Node:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self.wrapped, mode="eval").body
        except SyntaxError as error:
            raise self.syntax(error) from None
        except (RecursionError, MemoryError, SystemError):
            # A SystemError is what Python 3.11 makes of a RecursionError in its own parser.
            raise self.fail("this is nested too deeply", 0) from None
        except ValueError as error:
            raise self.fail(f"this is no text: {error}", 0) from None
        if not self.text.strip():
            raise self.fail("the query is empty", 0)
        if (tree.lineno, tree.col_offset) == (1, 0) and not isinstance(
            tree, ast.Tuple | ast.GeneratorExp
        ):
            # Our own parenthesis was closed by the text, as in `1) + (2`.
            raise self.fail("unmatched ')'", self.text.find(")"))
        return self.node(tree, 1)

    def syntax(self, error: SyntaxError) -> QueryError:
        line, column = error.lineno or 1, max(error.offset or 1, 1)
        at = max(0, min(self.starts[min(line, len(self.lines)) - 1] + column - 2, len(self.text)))
        foreign = _FOREIGN_WORD.search(self.text, max(0, at - 1))
        if foreign and not error.msg.startswith("unterminated"):
            word = foreign.group()
            return self.fail(f"write `{_FOREIGN[word]}` instead of `{word}`", foreign.start())
        if error.msg.startswith("Exceeds the limit"):
            return self.fail("this number has too many digits; write it as 1e300", at)
        if (line, column) == (1, 1) and "never closed" in error.msg:
            return self.fail("a parenthesis is never closed", len(self.text))
        # What follows the full stop advises on Python, not on queries.
        return self.fail(error.msg.partition(". ")[0], at)

    def fail(self, message: str, at: int) -> QueryError:
        return complaint(self.text, message, at)

    def place(self, line: int, column: int) -> int:
        """Return a position in the text in characters; Python counts a line's UTF-8 bytes."""
        before = self.lines[line - 1].encode()[:column].decode(errors="ignore")
        return max(0, self.starts[line - 1] + len(before) - 1)

    def begin(self, tree: ast.expr) -> int:
        return self.place(tree.lineno, tree.col_offset)

    def count(self, at: int) -> None:
        self.parts += 1
        if self.parts > MAX_PARTS:
            advice = "a long list can be a parameter, as in `episode in ids`"
            raise self.fail(f"a query has at most {MAX_PARTS} parts; {advice}", at)

    def node(self, tree: ast.expr, depth: int) -> Node:
        at = self.begin(tree)
        self.count(at)
        if depth > MAX_DEPTH:
            raise self.fail(f"this is nested more than {MAX_DEPTH} deep", at)
        match tree:
            case ast.Constant(value=value):
                return Given(self.constant(value, at), at)
            case ast.Name(id=name) if name in self.params:
                self.used.add(name)
                given = self.params[name]
                return Listing(given, at) if isinstance(given, tuple) else Given(given, at)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self.path(tree, depth)
            case ast.Call():
                return self.call(tree, depth)
            case ast.BinOp(op=op) if type(op) in _JUNCTIONS:
                terms = self.nodes((tree.left, tree.right), depth)
                return Junction(_JUNCTIONS[type(op)], terms, at)
            case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
                terms = self.nodes((tree.left, tree.right), depth)
                return Call(_ARITHMETIC[type(op)], terms, at)
            case ast.BoolOp(op=op, values=values):
                return Junction(_JUNCTIONS[type(op)], self.nodes(values, depth), at)
            case ast.UnaryOp(op=ast.UAdd() | ast.USub() as op, operand=operand):
                sign = "-" if isinstance(op, ast.USub) else "+"
                return Call(sign, self.nodes((operand,), depth), at)
            case ast.UnaryOp(op=op, operand=operand):
                return Junction(_JUNCTIONS[type(op)], self.nodes((operand,), depth), at)
            case ast.Compare():
                return self.chain(tree, depth)
        what = _REFUSED.get(type(tree), f"Python's {type(tree).__name__}")
        if isinstance(tree, ast.BinOp):
            what = f"the operator {type(tree.op).__name__}"
        raise self.fail(f"{what} is not part of a query", at)

    def nodes(self, trees: Iterable[ast.expr], depth: int) -> tuple[Node, ...]:
        return tuple([self.node(tree, depth + 1) for tree in trees])

    def constant(self, value: Any, at: int) -> Scalar:
        constant = _scalar(value)
        if constant is None and value is None:
            raise self.fail("None is no value; ask `has(...)` or `not has(...)`", at)
        if constant is None:
            raise self.fail(f"a constant of type {type(value).__name__} is not part of a query", at)
        return constant

    def call(self, tree: ast.Call, depth: int) -> Node:
        at = self.begin(tree)
        if not isinstance(tree.func, ast.Name):
            raise self.fail("only functions are called, as in abs(x); nothing has methods", at)
        if tree.keywords:
            at = self.begin(tree.keywords[0].value)
            raise self.fail("a function takes no arguments by name", at)
        return Call(tree.func.id, self.nodes(tree.args, depth), at)

    def chain(self, tree: ast.Compare, depth: int) -> Node:
        at = self.begin(tree)
        for op, operand in zip(tree.ops, tree.comparators, strict=True):
            if type(op) not in _COMPARISONS:
                raise self.fail("write `==` or `!=` instead of `is`", self.begin(operand))
        operators = tuple([_COMPARISONS[type(op)] for op in tree.ops])
        if not {"in", "not in"} & set(operators):
            return Chain(operators, self.nodes((tree.left, *tree.comparators), depth), at)
        if len(operators) > 1:
            raise self.fail("`in` takes no part in a chain; join comparisons with `and`", at)
        left, right = tree.left, tree.comparators[0]
        return Chain(operators, (self.node(left, depth + 1), self.listing(right, depth)), at)

    def listing(self, tree: ast.expr, depth: int) -> Listing:
        at = self.begin(tree)
        if isinstance(tree, ast.Tuple | ast.List | ast.Set):
            return Listing(tuple([self.item(item, depth) for item in tree.elts]), at)
        if isinstance(tree, ast.Name):
            found = self.node(tree, depth + 1)
            if isinstance(found, Listing):
                return found
        expected = "a tuple of constants, as in `x in (1, 2)`, or a parameter that is a list"
        raise self.fail(f"`in` looks through {expected}", at)

    def item(self, tree: ast.expr, depth: int) -> Scalar:
        match self.node(tree, depth + 1):
            case Given(value=value):
                return value
            case Call(name="-", arguments=(Given(value=bool() | int() | float() as value),)):
                return -value
        raise self.fail("expected a constant or a parameter", self.begin(tree))

    def path(self, tree: ast.expr, depth: int) -> Path:
        keys: list[str | int | slice] = []
        places: list[int] = []
        while not isinstance(tree, ast.Name):
            match tree:
                case ast.Attribute(attr=name, value=value):
                    end = self.place(tree.end_lineno or 1, tree.end_col_offset or 0)
                    keys.append(name)
                    places.append(end - len(name))
                case ast.Subscript(slice=index, value=value):
                    indices = index.elts if isinstance(index, ast.Tuple) else [index]
                    keys.extend([self.key(index, depth) for index in reversed(indices)])
                    places.extend([self.begin(index) for index in reversed(indices)])
                case _:
                    at = self.begin(tree)
                    raise self.fail("only a field has parts and indices", at)
            self.count(places[-1])
            if len(keys) > MAX_KEYS:
                raise self.fail(f"a path has at most {MAX_KEYS} parts", places[-1])
            tree = value
        if tree.id in self.params:
            raise self.fail(f"the parameter {tree.id!r} has no parts", self.begin(tree))
        return Path((tree.id, *reversed(keys)), (self.begin(tree), *reversed(places)))

    def key(self, tree: ast.expr, depth: int) -> str | int | slice:
        at = self.begin(tree)
        if isinstance(tree, ast.Slice):
            bounds = [
                None if bound is None else self.item(bound, depth)
                for bound in (tree.lower, tree.upper, tree.step)
            ]
            if any(type(bound) not in (int, type(None)) for bound in bounds) or bounds[2] == 0:
                raise self.fail("a slice has integer bounds and a step that is not 0", at)
            return slice(*bounds)
        found = self.item(tree, depth)
        if isinstance(found, bool | float):
            raise self.fail("an index is an integer or a slice, a key is text", at)
        return found
