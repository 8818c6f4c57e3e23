"""Records what the FastAPI original answers, as test data for `kv`.

    uvicorn --app-dir tests/bench fastapi_twin:app --port 9101 --log-level warning &
    python3 tests/data/record.py http://127.0.0.1:9101 > tests/data/recorded-kv.json
    python3 tests/data/record.py http://127.0.0.1:9101 --check tests/data/golden-kv.json

Each case has a name, the requests that set the stage, one request and its answer: status, media
type, JSON, and for 405 the methods that `Allow` must hold. Cases share no keys, so they can run in
any order against one server that starts empty. With `--check` nothing is recorded: the cases of
the file are played to the server and differences are printed.

Left out is what `kv` does otherwise on purpose: NaN and infinities, numbers beyond a double, lone
surrogates where the original answers 500, media types other than JSON, bad percent escapes, keys
with `/` or NUL or over 1,024 bytes, trailing slashes, HEAD.
"""

import http.client
import json
import re
import sys
import urllib.parse

JSON = {"Content-Type": "application/json"}
DEEP = "[" * 100 + "1" + "]" * 100

# Bodies that are not JSON, by what is wrong with them.
SYNTAX = {
    "white_space_only": [" ", " \t\r\n", "\ufeff", "\ufeff  "],
    "no_value": ["nul", "nulL", "tru", "falze", "None", "undefined", "'a'", "-", "--1", "+1", ".5",
                 "]", "}", ",", ":", "\u00a0{}", "\ufeff\ufeff{}", "\x0b{}", "é", "😀"],
    "array": ["[", "[ ", "[1", "[1 ", "[1,", "[1, ", "[1,]", "[,1]", "[1 2]", "[1,,2]", "[1}",
              "[[]", "[[1,2],[3", "[-]", "[1e]", '["é" "😀"]', '["a":1]'],
    "object": ["{", "{ ", "{,}", "{1:2}", "{null:1}", "{'key':1}", "{key:1}", '{"key"', '{"key" ',
               '{"key"}', '{"key",1}', '{"key"=1}', '{"key"::1}', '{"key":', '{"key": ',
               '{"key":}', '{"key":1', '{"key":1 ', '{"key":1,', '{"key":1, ', '{"key":1,}',
               '{"key":1, }', '{"key":1,,}', '{"key":1 "value":2}', '{"key":1;"value":2}',
               '{"key":1]', '{"key":[1,{"a":2,}]}', '{"a":{"b":{"c":', '{"a":[{"b":[{"c" 1}]}]}'],
    "extra": ["1 2", "01", "-01", "1.", "1.e5", "1e", "1e+", "0x10", "1_000", "{}{}", "{} x",
              "[]]", '{"key":"a","value":1}}', '{"key":"a","value":1}\n\nx', "nullx", '""""',
              "true false", "1\u00a0", "{}\ufeff", "{}\x00"],
    "number_in_object": ['{"key":"a","value":01}', '{"key":"a","value":1.}',
                         '{"key":"a","value":1.5e}', '{"key":"a","value":-}',
                         '{"key":"a","value":+1}', '{"key":"a","value":.5}',
                         '{"key":"a","value":0x1F}'],
    "string": ['"', '"abc', '"abc\\', '"abc\\"', '{"key', '{"key\\', '{"key":"', '{"key":"abc',
               '{"key":"abc\\"}', '["é', '["a","😀', '{"key":"a","value":"b}'],
    "control": ['"a\nb"', '"\t"', '"a\x00b"', '"\x1f"', '{"key":"a\nb","value":1}',
                '{"ke\ty":1}', '"é😀\x01"', '"\n'],
    "escape": ['"\\x41"', '"\\a"', '"\\\'"', '"\\é"', '"\\😀"', '"\\ "', '"\\U0041"', '"\\\n"',
               '"a\\qb', '{"k\\ey":1}', '{"key":"é\\z"}', '"\\\\\\x"'],
    "unicode_escape": ['"\\u"', '"\\u1"', '"\\u12"', '"\\u123"', '"\\u1234', '"\\u123', '"\\u',
                       '"\\u12g4"', '"\\u 123"', '"\\u-123"', '"\\u0x12"', '"\\uéééé"',
                       '"\\ud83d\\u"', '"\\ud83d\\u12"', '"\\ud83d\\ude0', '"\\ud83d\\ude00',
                       '"\\ud83d\\x"', '"é😀\\u00zz"', '{"\\u00k":1}'],
    "after_two_byte_characters": ['{"é":"ß",}', '{"é" 1}', '{"key":"é","value":}', '"éé" x'],
    "after_three_byte_characters": ['{"key":"漢字",}', '["漢","字"', '{"漢":字}', '"漢字'],
    "after_astral_characters": ['{"key":"😀😀","value":}', '{"😀":1,}', '["😀","𝄞",]',
                                '["😀" "𝄞"]', '{"key":"' + "😀" * 300 + '","value":nope}'],
    "after_byte_order_mark": ["\ufeff{", "\ufeff[1,]", '\ufeff{"é":"😀",}', "\ufeffnope"],
    "over_lines": ['{\n  "key": "a",\n  "value": 1,\n}', '{\r\n\t"key": "a"\r\n\t"value": 1\r\n}'],
    "nested": [DEEP[:-1], DEEP + "]", "[" * 50, '{"a":' * 50, '{"a":[' * 50 + "x"],
}

# JSON that is no key with a value, by why.
REFUSED = {
    "not_an_object": ["null", "true", "false", "0", "-0", "1.5", "-2.50", "1e3", '""', '"text"',
                      '"é漢😀"', '"\\u00e9\\ud83d\\ude00\\n"', "[]", "[{}]",
                      '[{"key":"a","value":1}]', "123456789012345678901234567890",
                      "-9007199254740993", " \t\r\n[1, 2] \n", "\ufeffnull", '"{\\"key\\":1}"', DEEP],
    "key_no_string": [f'{{"key":{key},"value":1}}' for key in (
        "null", "true", "false", "0", "-1", "1.5", "1E2", "[]", "{}", '["a"]', '{"key":"a"}',
        "123456789012345678901234567890", "[123456789012345678901234567890,1.50]",
        '{"é":"😀","n":[null,true,{"x":-0.5}]}', '{"a":1,"a":2}')],
    "key_missing": ['{"value":1}', '{"value":null}', '{"Key":"a","value":1}',
                    '{"KEY":"a","value":1}', '{" key":"a","value":1}', '{"k":"a","value":[1,{"b":2}]}',
                    '{"value":123456789012345678901234567890}', '{"keys":["a"],"value":"é😀"}'],
    "value_missing": ['{"key":"a"}', '{"key":"a","Value":1}', '{"key":"a","val":null}',
                      '{"key":"\\ud83d\\ude00"}', '{"key":"a","n":123456789012345678901234567890}'],
    "both_missing": ["{}", " { } ", '{"other":1}', '{"":""}', '{"a":{"key":"a","value":1}}',
                     '{"é":"\\n"}', "\ufeff{}"],
    "key_wrong_value_missing": ['{"key":null}', '{"key":5}', '{"key":["a"]}',
                                '{"key":{},"other":1.0}'],
    "duplicates": ['{"key":"a","key":1,"value":1}', '{"key":1,"key":null,"value":1}',
                   '{"key":"a","key":"b"}', '{"value":1,"value":2}', '{"a":1,"b":2,"a":3}',
                   '{"key":1,"key":2}', '{"key":"a","\\u006bey":false,"value":1}'],
}

# JSON texts that are stored and read back.
VALUES = {
    "big_integer": "123456789012345678901234567890",
    "negative_big_integer": "-123456789012345678901234567890",
    "hundred_digits": "1234567890" * 10,
    "two_to_the_63": "9223372036854775808",
    "two_to_the_64": "18446744073709551616",
    "past_double": "9007199254740993",
    "minus_zero": "-0",
    "minus_zero_float": "-0.0",
    "tenth": "0.1",
    "trailing_zeros": "1.500",
    "exponent_capital": "1E2",
    "exponent_signs": "[1e+2,25e-1,-1.5E+3]",
    "large_double": "1.5e300",
    "smallest_double": "5e-324",
    "big_integers_nested": '{"a":[123456789012345678901234567890,{"b":-98765432109876543210}]}',
    "null": "null",
    "false": "false",
    "two_bytes": '"é"',
    "three_bytes": '"漢字"',
    "four_bytes": '"😀𝄞"',
    "escaped_pair": '"\\ud83d\\ude00"',
    "escapes": '"\\"\\\\\\/\\b\\f\\n\\r\\t"',
    "escaped_nul": '"a\\u0000b"',
    "delete_character": '"\x7f"',
    "line_separators": '"\u2028\u2029"',
    "markup": '"<script>&amp;</script>"',
    "looks_like_json": '"{\\"key\\":1}"',
    "unicode_names": '{"é":1,"漢":{"😀":[]}}',
    "empty_name": '{"":""}',
    "escaped_name": '{"\\u0061":1}',
    "duplicate_names": '{"a":1,"b":2,"a":{"c":3,"c":4}}',
    "names_of_members": '{"key":"x","value":{"key":1,"value":2}}',
    "white_space_inside": " [ 1 ,\t{ \"a\" :\r\n2 } ] ",
    "deep": DEEP,
    "long": '"' + "x" * 5000 + '"',
}

# Keys that a path carries percent-encoded.
KEYS = {
    "two_bytes": "clé",
    "three_bytes": "漢字",
    "four_bytes": "😀𝄞",
    "mixed_bytes": "aé漢😀z",
    "composed": "\u00e9-nfc",
    "decomposed": "e\u0301-nfd",
    "emoji_sequence": "👩\u200d👩\u200d👧",
    "right_to_left": "שלום",
    "last_code_point": "\U0010ffff",
    "byte_order_mark": "\ufeffbom",
    "single_quote": "it's a key",
    "double_quote": 'say "key"',
    "backslash": "a\\b\\n",
    "newline": "line\nbreak",
    "carriage_return": "a\r\nb",
    "tab": "a\tb",
    "escape_character": "\x1b[31m",
    "delete_character": "a\x7fb",
    "no_break_space": "a\u00a0b",
    "line_separator": "a\u2028b",
    "space": " both sides ",
    "percent": "100%25",
    "question_mark": "a?b",
    "hash": "a#b",
    "plus": "a+b",
    "ampersand": "a=1&b=2",
    "brackets": "{a}[b]<c>",
    "punctuation": "a.b-c_d~e:f;g,h@i!j$k*l(m)n",
    "markup": "<b>&amp;<br>",
    "null_word": "null",
    "number_word": "123",
    "long": "k" * 1024,
    "long_four_bytes": "😀" * 256,
}

# Bodies that store a value under `{}`, a key without anything to escape.
ACCEPTED = {
    "duplicate_value": '{"key":"{}","value":1,"value":2}',
    "duplicate_key": '{"key":"other","key":"{}","value":1}',
    "duplicate_wrong_key_first": '{"key":5,"key":"{}","value":1}',
    "duplicate_escaped_name": '{"key":5,"\\u006bey":"{}","value":1,"valu\\u0065":[2]}',
    "escaped_names": '{"\\u006b\\u0065\\u0079":"{}","\\u0076alue":3}',
    "value_first": '{"value":1,"key":"{}"}',
    "other_members": '{"a":[1,{"b":null}],"key":"{}","é😀":"\\n","value":1,"":0}',
    "white_space": ' \t\r\n{ "key" :\n"{}"\t,\r"value" : 7 } \n',
    "byte_order_mark": '\ufeff{"key":"{}","value":"\ufeff"}',
    "lone_surrogate_in_other_name": '{"\\ud800":1,"key":"{}","value":1}',
    "lone_surrogate_in_other_value": '{"a":"\\udc00","key":"{}","value":1}',
    "big_number_in_other_value": '{"a":123456789012345678901234567890,"key":"{}","value":1}',
}

MEDIA_TYPES = ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8",
               "application/json;charset=UTF-8;x=y", "application/vnd.api+json",
               "application/merge-patch+json"]

UNKNOWN = [("GET", "/nope"), ("POST", "/nope"), ("DELETE", "/nope"), ("PATCH", "/nope"),
           ("GET", "/Health"), ("GET", "/health/x"), ("GET", "/healthz"), ("PUT", "/key/a"),
           ("GET", "/KEYS/a"), ("GET", "/keysa"), ("GET", "/favicon.ico"), ("GET", "/nope?a=b"),
           ("GET", "/%68ealthy"), ("GET", "/a%20b"), ("POST", "/%C3%A9")]

WRONG_METHOD = [("PUT", "/health"), ("DELETE", "/health"), ("PATCH", "/health"),
                ("OPTIONS", "/health"), ("PATCH", "/keys/a"), ("OPTIONS", "/keys/a"),
                ("PATCH", "/keys/%F0%9F%98%80"), ("PATCH", "/keys/a?b=c"), ("POST", "/docs"),
                ("DELETE", "/openapi.json")]


def request(method, path, body=None, headers=None):
    """One request as it stands in the file."""
    if headers is None:
        headers = JSON if body is not None else {}
    return {"method": method, "path": path, "headers": headers, "body": body}


def path_of(key):
    """The request target of a key."""
    return "/keys/" + urllib.parse.quote(key, safe="")


def body_of(key, value):
    """A write's body; `value` is JSON text."""
    return f'{{"key":{json.dumps(key, ensure_ascii=False)},"value":{value}}}'


def put(key, value="1"):
    """A PUT that stores `value`, JSON text, under `key`."""
    return request("PUT", path_of(key), body_of(key, value))


def delete(key):
    """A DELETE of `key`."""
    return request("DELETE", path_of(key))


def refusals():
    """Writes that are refused for what their bodies are."""
    for table in (SYNTAX, REFUSED):
        for kind, bodies in table.items():
            for index, body in enumerate(bodies):
                method = ("POST", "PUT")[index % 2]
                yield f"{kind}_{index}", [], request(method, "/keys/refused", body)
    for method in ("POST", "PUT"):
        name = f"no_body_{method.lower()}"
        yield name, [], request(method, "/keys/refused")
        yield f"{name}_with_type", [], request(method, "/keys/refused", "")
    key = "kept"
    yield "refused_write_keeps_value", [
        put(key, '"before"'),
        request("PUT", path_of(key), '{"key":"kept","value":}'),
        request("PUT", path_of(key), '{"key":"kept"}'),
        request("PUT", path_of(key), body_of("another", "2")),
    ], request("GET", path_of(key))


def writes():
    """Bodies that are stored, and what is read back."""
    for name, value in VALUES.items():
        key = f"value_{name}"
        yield f"{key}_stored", [], request("POST", path_of(key), body_of(key, value))
        yield f"{key}_read", [put(f"{key}_", value)], request("GET", path_of(f"{key}_"))
    for name, template in ACCEPTED.items():
        key = f"accepted_{name}"
        body = template.replace("{}", key)
        yield f"{key}_stored", [], request("POST", path_of(key), body)
        key_read = f"{key}_"
        stored = request("PUT", path_of(key_read), template.replace("{}", key_read))
        yield f"{key}_read", [stored], request("GET", path_of(key_read))
    for index, media_type in enumerate(MEDIA_TYPES):
        key = f"media_type_{index}"
        headers = {"Content-Type": media_type}
        yield key, [], request("POST", path_of(key), body_of(key, "1"), headers)
        yield f"{key}_refused", [], request("POST", path_of(key), "{", headers)


def keys():
    """Every kind of key through every answer that names it."""
    for name, key in KEYS.items():
        path = path_of(key)
        name = f"key_{name}"
        if name.startswith("key_long"):
            stored, read, missing = key, key[:-1] + "r", key[:-1] + "m"
        else:
            stored, read, missing = key + "s", key + "r", key + "m"
        yield f"{name}_stored", [], request("POST", path_of(stored), body_of(stored, "1"))
        yield f"{name}_read", [put(read, '"é"')], request("GET", path_of(read))
        yield f"{name}_missing", [], request("GET", path_of(missing))
        yield f"{name}_mismatch_in_path", [], request("PUT", path, body_of("plain", "1"))
        yield f"{name}_mismatch_in_body", [], request("POST", "/keys/plain", body_of(key, "1"))
    for name in ("four_bytes", "double_quote", "newline", "percent"):
        once, twice, gone = (KEYS[name] + suffix for suffix in ("d", "dd", "g"))
        yield f"key_{name}_deleted", [put(once)], delete(once)
        yield f"key_{name}_deleted_twice", [put(twice), delete(twice)], delete(twice)
        yield f"key_{name}_gone", [put(gone), delete(gone)], request("GET", path_of(gone))
    yield "key_lower_case_escapes", [put("ÿé")], request("GET", "/keys/%c3%bf%c3%a9")
    yield "key_needless_escapes", [put("needless")], request("GET", "/keys/%6e%65edless")
    yield "key_plain_plus", [put("x+y")], request("GET", "/keys/x+y")
    yield "key_plus_is_no_space", [put("u v")], request("GET", "/keys/u+v")
    yield "key_not_normalized", [put("caf\u00e9")], request("GET", path_of("cafe\u0301"))
    yield "key_escaped_percent", [put("p%41")], request("GET", "/keys/p%2541")
    yield "key_escaped_in_body", [], request(
        "POST", path_of("😀é\n"), '{"key":"\\ud83d\\ude00\\u00e9\\n","value":1}')
    yield "key_empty_in_body", [], request("POST", "/keys/plain", body_of("", "1"))
    yield "key_differs_in_case", [], request("POST", "/keys/plain", body_of("Plain", "1"))
    yield "key_mismatch_stores_nothing", [
        request("POST", "/keys/unstored", body_of("unstored2", "1"))
    ], request("GET", "/keys/unstored")
    yield "key_query_ignored_on_write", [], request(
        "POST", "/keys/queried?a=b&c", body_of("queried", "1"))


def routes():
    """Paths and methods without a key's meaning."""
    yield "health_with_query", [], request("GET", "/health?a=b")
    for kind, table in (("unknown", UNKNOWN), ("wrong_method", WRONG_METHOD)):
        for index, (method, path) in enumerate(table):
            yield f"{kind}_{index}", [], request(method, path)


def send(authority, message):
    """Sends one request on a connection of its own."""
    connection = http.client.HTTPConnection(authority, timeout=10)
    body = message["body"]
    body = body.encode() if body is not None else None
    connection.request(message["method"], message["path"], body, message["headers"])
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if response.status >= 500:
        sys.exit(f"the server failed at {message}")
    answer = {
        "status": response.status,
        "content_type": response.getheader("Content-Type"),
        "json": json.loads(content),
    }
    if response.status == 405:
        allowed = re.split(r",\s*", response.getheader("Allow"))
        answer["allow_contains"] = [method for method in allowed if method != "HEAD"]
    return answer


def play(authority, setup, message):
    """The answer to a request after those that set the stage."""
    for step in setup:
        send(authority, step)
    return send(authority, message)


def record(authority):
    """Prints every case with the server's answers, one a line."""
    recorded = {}
    for cases in (refusals(), writes(), keys(), routes()):
        for name, setup, message in cases:
            if name in recorded:
                sys.exit(f"two cases are named {name}")
            response = play(authority, setup, message)
            recorded[name] = {
                "name": name, "setup": setup, "request": message, "response": response}
    print("[", ",\n".join(map(json.dumps, recorded.values())), "]", sep="\n")


def check(authority, file):
    """Plays recorded cases; true if every answer is as recorded."""
    with open(file, encoding="utf-8") as text:
        cases = json.load(text)
    differing = 0
    for case in cases:
        expected = case["response"]
        answer = play(authority, case["setup"], case["request"])
        missing = set(expected.pop("allow_contains", [])) - set(answer.pop("allow_contains", []))
        if missing or answer != expected:
            differing += 1
            print(f"{case['name']}: {answer} instead of {expected}", *missing)
    print(f"{len(cases)} cases, {differing} differ")
    return differing == 0


def main():
    match sys.argv[1:]:
        case [url]:
            record(urllib.parse.urlsplit(url).netloc)
        case [url, "--check", file]:
            sys.exit(not check(urllib.parse.urlsplit(url).netloc, file))
        case _:
            sys.exit(__doc__)


main()
