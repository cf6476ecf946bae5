"""Strings of the document's own formats. Without them schemathesis makes headers of letters and digits only, none of which is an ETag."""

from datetime import datetime

import schemathesis
from hypothesis import strategies as st

HEX = "0123456789abcdef"


def digits(most: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=1, max_size=most)


def hexadecimal(length: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=length, max_size=length).filter(lambda text: text.strip("0"))


schemathesis.openapi.format("etag", digits(18).map(lambda text: f'"{text}"'))
schemathesis.openapi.format("any-etag", st.just("*"))
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Letters, digits and signs of symbols in use; the first is a letter, so that there is one.
schemathesis.openapi.format(
    "symbol",
    st.tuples(
        st.sampled_from(LETTERS.upper() + "\u5e01"),
        st.text(LETTERS + LETTERS.upper() + "0123456789&=@^$#!/:._-\u5e01\u5b89", max_size=60),
    ).map("".join),
)
schemathesis.openapi.format("event-id", st.just("0-0"))
schemathesis.openapi.format(
    "moment",
    digits(13)
    | st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)).map(
        lambda moment: moment.replace(microsecond=0).isoformat() + "Z"
    ),
)
schemathesis.openapi.format(
    "traceparent",
    st.tuples(hexadecimal(32), hexadecimal(16), st.text(HEX, min_size=2, max_size=2)).map(
        lambda parts: "-".join(("00", *parts))
    ),
)


def bounded(value: object) -> object:
    """The value with integers of 64 bits at most."""
    if isinstance(value, dict):
        return {name: bounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [bounded(part) for part in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return 64
    return value


@schemathesis.hook
def before_call(context: object, case: schemathesis.Case, kwargs: dict[str, object]) -> None:
    """That integers of any JSON value fit 64 bits stands in its description only: a schema that says so for each depth names itself, and generators of
    clients do not understand it."""
    if case.meta is not None and case.meta.generation.mode.is_positive:
        case.body = bounded(case.body)
