"""What the schemas of openapi.json cannot say of lines of JSON: see fuzz_http.sh."""

import json
import os

import schemathesis
from hypothesis import strategies as st

LINE = st.fixed_dictionaries(
    {"key": st.text(min_size=1, max_size=100), "value": st.recursive(st.none() | st.booleans() | st.text(), st.lists)},
    optional={"expires": st.integers(0, 2**63)},
)

schemathesis.openapi.media_type(
    "application/x-ndjson", st.lists(LINE, max_size=20).map(lambda lines: "\n".join(map(json.dumps, lines)).encode())
)


@schemathesis.serializer("application/x-ndjson")
def lines_of_json(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """A token is opaque: the only good ones are those that the node has given."""
    session = raw_schema["components"]["parameters"]["Session"]
    session["schema"]["enum"] = os.environ["SESSIONS"].split()
