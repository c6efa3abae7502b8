# SPDX-License-Identifier: LGPL-3.0-or-later
"""A text and a catalogue to a plan: names get their meaning, kinds and shapes are checked.

The plan is split by what its parts must read, so that whole episodes, and then single rows, are
out of the question before anything wide is decompressed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gymbag.errors import QueryError
from gymbag.query import functions
from gymbag.query.caret import complaint
from gymbag.query.evaluate import (
    Apply,
    Compare,
    Constant,
    Expression,
    Item,
    Logic,
    Member,
    Shape,
    Typed,
    constant,
    fields,
    parts,
)
from gymbag.query.fields import Catalogue, Field, Kind, Level, Side
from gymbag.query.parse import Constants, constants, parse
from gymbag.query.tree import Call, Chain, Given, Junction, Listing, Node, Path

_SIDES: tuple[Side, Side] = ("number", "text")
_KINDS: dict[Kind, str] = {"number": "a number", "bool": "a bool", "text": "text"}
MOST_NAMES = 1_000
LONGEST_NAME = 100
"""Among how many names, and up to which length, one is looked for that was meant."""
_WORDS = {"&": "and", "|": "or", "~": "not"}


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked query in up to three parts; a row is an answer if all of them hold for it."""

    text: str
    episode: Expression | None
    """What one value per episode decides, and constants."""
    row: Expression | None
    """What a narrow column decides, possibly together with values of the episode."""
    wide: Expression | None
    """The rest, which needs arrays beside the table."""
    params: Mapping[str, Constants]
    """Its parameters."""


def compile_query(text: str, catalogue: Catalogue, params: Mapping[str, Any] | None = None) -> Plan:
    """Return the plan of a query. Nothing in the text is ever executed.

    >>> from gymbag.query import Field, Fields, Values
    >>> import numpy as np
    >>> catalogue = Fields([Field("reward", "number"), Field("terminated", "bool")])
    >>> plan = compile_query("reward > t and not terminated", catalogue, {"t": 0.5})
    >>> table = {"reward": np.array([1.0, 2.0, 0.0]), "terminated": np.array([0, 1, 0], bool)}
    >>> plan.row(lambda field: Values(table[field.name]), 3)
    array([ True, False, False])
    >>> compile_query("rewrad > 0", catalogue)
    Traceback (most recent call last):
    ...
    gymbag.errors.QueryError: there is no field 'rewrad'; did you mean 'reward'?
        rewrad > 0
        ^

    Args:
        text: The query, in Python's syntax for expressions.
        catalogue: Says which fields there are.
        params: Values for names in the text: numbers, bools, text, and for `in` flat
            collections of those. Each must be used, and none may have a field's name.

    Raises:
        QueryError: The text is not understood; the message shows where.
    """
    _check_names(params or {}, catalogue)
    given = constants(params or {})
    tree, used = parse(text, given)
    root = _Checker(text, catalogue, given).condition(tree)
    for name in given:
        if name not in used:
            raise complaint(text, f"the parameter {name!r} is not used")
    split: dict[Level, list[Typed]] = {level: [] for level in Level}
    for term in _terms(root):
        split[max((field.level for field in fields(term)), default=Level.EPISODE)].append(term)
    episode, row, wide = (_expression(split[level]) for level in Level)
    return Plan(text, episode, row, wide, given)


def _check_names(params: Mapping[str, Any], catalogue: Catalogue) -> None:
    for name in params:
        try:
            catalogue.lookup((name,))
        except LookupError:
            if name not in {known.partition(".")[0] for known in catalogue.names()}:
                continue
        raise QueryError(f"the parameter {name!r} has the name of a field; choose another")


def _terms(root: Typed) -> list[Typed]:
    """Return the conditions that must all hold."""
    if isinstance(root, Logic) and root.word == "and":
        return [term for below in root.terms for term in _terms(below)]
    return [root]


def _expression(terms: list[Typed]) -> Expression | None:
    if not terms:
        return None
    root = terms[0] if len(terms) == 1 else Logic("and", tuple(terms), ())
    return Expression(root, tuple(dict.fromkeys(fields(root))))


def _folded(node: Typed) -> Typed:
    """Return a node of constants only as a constant."""
    if all(isinstance(part, Constant) for part in parts(node)) and not isinstance(node, Item):
        return Constant(constant(node))
    return node


class _Checker:
    """Gives the nodes of one text their meaning."""

    def __init__(self, text: str, catalogue: Catalogue, params: Iterable[str]) -> None:
        self.text = text
        self.catalogue = catalogue
        self.params = params

    def fail(self, message: str, at: int) -> QueryError:
        return complaint(self.text, message, at)

    def condition(self, tree: Node) -> Typed:
        """Check what must hold or not for each row."""
        node = self.truth(tree)
        if node.shape:
            raise self.fail(
                f"this has {_size(node.shape)} for each row; write any(...) or all(...), "
                "or choose one by its index",
                tree.at,
            )
        return node

    def check(self, tree: Node, side: Side | None) -> Typed:
        """Check any node; `side` is what a field of two kinds is to be."""
        match tree:
            case Given(value=value):
                return Constant(value)
            case Listing():
                raise self.fail("a list goes with `in` only", tree.at)
            case Path():
                return self.item(tree, side)
            case Call():
                return _folded(self.call(tree))
            case Chain(operators=("in" | "not in",), operands=(operand, Listing() as listing)):
                return _folded(self.member(tree, operand, listing))
            case Chain():
                return _folded(self.chain(tree))
            case Junction():
                return _folded(self.junction(tree))

    def truth(self, tree: Node, word: str = "and") -> Typed:
        """Check what must be True or False, maybe element by element."""
        node = self.check(tree, "number")
        if node.kind == "bool":
            return node
        if word in _WORDS:
            remedy = f"write `{_WORDS[word]}`, or put the comparison in parentheses"
            raise self.fail(
                f"`{word}` joins conditions, and this is {_KINDS[node.kind]}; {remedy}", tree.at
            )
        name = _typed(tree) if isinstance(tree, Path) else "x"
        example = f"{name} == 'abc'" if node.kind == "text" else f"{name} != 0"
        raise self.fail(f"{_KINDS[node.kind]} is not a condition; compare it: {example}", tree.at)

    def number(self, tree: Node, name: str) -> Typed:
        """Check what must be a number, or a bool for 0 or 1."""
        node = self.check(tree, "number")
        if node.kind == "text":
            raise self.fail(f"`{name}` takes numbers; this is text", tree.at)
        return node

    def lookup(self, tree: Path, side: Side | None) -> tuple[Field, tuple[int | slice, ...]]:
        """Return the field and what remains of the path, not yet checked."""
        head: list[str | int] = []
        for key in tree.keys:
            if isinstance(key, slice):
                break
            head.append(key)
        try:
            field, rest = self.catalogue.lookup(tuple(head), side)
        except LookupError as error:
            raise self.unknown(tree, head, error) from None
        tail = []
        for key, at in zip(tree.keys[len(head) :], tree.places[len(head) :], strict=True):
            if isinstance(key, str):
                raise self.fail("there are no names behind a slice", at)
            tail.append(key)
        return field, (*rest, *tail)

    def unknown(self, tree: Path, head: list[str | int], error: LookupError) -> QueryError:
        name = ".".join(map(str, head))
        message = str(error.args[0] if error.args else f"there is no field {name!r}")
        callable_names = functions.names()
        if name in callable_names:
            return self.fail(f"{name} is a function; call it as {name}(...)", tree.at)
        known = [*self.catalogue.names(), *self.params, *callable_names]
        advice = _did_you_mean(name, known) or self._inside(head[0])
        if not advice and len(head) == 1:
            advice = ", and no parameter"
        return self.fail(message + advice, tree.at)

    def _inside(self, key: str | int) -> str:
        """Return advice for a name without what it is a part of."""
        found = (n for n in islice(self.catalogue.names(), MOST_NAMES) if n.endswith(f".{key}"))
        name = next(found, None)
        return "" if name is None else f"; did you mean {name!r}?"

    def item(self, tree: Path, side: Side | None) -> Item:
        field, index = self.lookup(tree, side)
        places = tree.places[len(tree.keys) - len(index) :]
        if len(index) > len(field.shape):
            at = places[len(field.shape)]
            raise self.fail(f"{field.name} has {_size(field.shape)}; this is an index too many", at)
        shape: list[int] = []
        for key, length, at in zip(index, field.shape, places, strict=False):
            if isinstance(key, slice):
                shape.append(len(range(*key.indices(length))))
            elif not -length <= key < length:
                raise self.fail(
                    f"index {key} is out of range; {field.name} has {_size(field.shape)}", at
                )
        return Item(field, index, (*shape, *field.shape[len(index) :]))

    def call(self, tree: Call) -> Typed:
        name, count = tree.name, len(tree.arguments)
        entry = functions.find(name, count)
        if entry is None and name in functions.FUNCTIONS:
            raise self.fail(f"{name} does not take {count} arguments", tree.at)
        if entry is None:
            advice = _did_you_mean(name, functions.names())
            raise self.fail(f"there is no function {name!r}{advice}", tree.at)
        if entry.takes == "any":
            return self.whatever(tree)
        if entry.takes == "bool":
            arguments = tuple([self.truth(argument) for argument in tree.arguments])
        else:
            arguments = tuple([self.number(argument, name) for argument in tree.arguments])
        shape = self.common(arguments, tree)
        if entry.form == "array" and not shape:
            raise self.fail(
                f"{name} looks through an array within one row, and this is one value",
                tree.arguments[0].at,
            )
        return Apply(name, arguments, entry.gives, shape if entry.form == "each" else ())

    def whatever(self, tree: Call) -> Typed:
        """Check a function of a value of any kind; of a field of two kinds either will do."""
        (argument,) = tree.arguments
        nodes = [self.check(argument, "number")]
        if isinstance(argument, Path) and self.item(argument, "text") not in nodes:
            nodes.append(self.item(argument, "text"))
        found = tuple([Apply(tree.name, (node,), "bool", ()) for node in nodes])
        return found[0] if len(found) == 1 else Logic("or", found, ())

    def chain(self, tree: Chain) -> Typed:
        side = self.side(tree.operands)
        nodes = tuple([self.check(operand, side) for operand in tree.operands])
        for sign, left, right, at in zip(
            tree.operators, nodes, nodes[1:], tree.operands[1:], strict=False
        ):
            if (left.kind == "text") != (right.kind == "text"):
                raise self.fail(f"`{sign}` compares text with a number here", at.at)
        return Compare(tree.operators, nodes, self.common(nodes, tree))

    def side(self, operands: Iterable[Node]) -> Side | None:
        """Return what the first operand of a certain kind is compared as."""
        for operand in operands:
            if isinstance(operand, Given):
                return _side(Constant(operand.value))
            if not isinstance(operand, Path):
                return "number"
            sides = {self.lookup(operand, side)[0].kind == "text" for side in _SIDES}
            if len(sides) == 1:
                return "text" if sides.pop() else "number"
        return None

    def member(self, tree: Chain, operand: Node, listing: Listing) -> Typed:
        sides = {_side(Constant(item)) for item in listing.items}
        if len(sides) > 1:
            raise self.fail("`in` looks through numbers or through text, not both", listing.at)
        side = next(iter(sides), None)
        node = self.check(operand, side)
        if side and side != _side(node):
            raise self.fail("`in` compares text with numbers here", listing.at)
        return Member(node, listing.items, tree.operators == ("not in",), node.shape)

    def junction(self, tree: Junction) -> Typed:
        terms = tuple([self.truth(term, tree.word) for term in tree.terms])
        return Logic(_WORDS.get(tree.word, tree.word), terms, self.common(terms, tree))

    def common(self, nodes: Iterable[Typed], tree: Node) -> Shape:
        """Return the one shape of all that are not scalars."""
        shapes = {node.shape for node in nodes} - {()}
        if len(shapes) > 1:
            raise self.fail(f"arrays of different shapes meet: {sorted(shapes)}", tree.at)
        return shapes.pop() if shapes else ()


def _side(node: Typed) -> Side:
    return "text" if node.kind == "text" else "number"


def _size(shape: Shape) -> str:
    return f"an array of shape {shape}" if shape else "one value for each row"


def _typed(path: Path) -> str:
    """Return a path as one would type it."""
    text = ""
    for key in path.keys:
        if isinstance(key, str) and key.isidentifier():
            text += f".{key}"
        else:
            text += "[:]" if isinstance(key, slice) else f"[{key!r}]"
    return text[1:]


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    # Names come from files: how alike two long ones are takes the product of their lengths.
    short = [other for other in islice(known, MOST_NAMES) if len(other) <= LONGEST_NAME]
    close = difflib.get_close_matches(name, short, n=1) if len(name) <= LONGEST_NAME else []
    return f"; did you mean {close[0]!r}?" if close else ""
