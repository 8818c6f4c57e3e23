"""Lines of JSON are text: schemathesis knows no such media type."""

import schemathesis

NDJSON = "application/x-ndjson"

schemathesis.serializer.alias(NDJSON, "text/plain")


@schemathesis.deserializer(NDJSON)
def lines(_context, response):
    return response.content.decode()
