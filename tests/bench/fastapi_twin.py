"""The FastAPI original in one file: what `kv` is recorded from and measured against.

    pip install fastapi uvicorn
    uvicorn --app-dir tests/bench fastapi_twin:app --port 9101 --log-level warning

State is one dict in the process and is gone when it stops.
"""

from typing import Any

from fastapi import FastAPI, HTTPException, status
from pydantic import BaseModel


class KeyValue(BaseModel):
    """The body of a write."""

    key: str
    value: Any


app = FastAPI(title="Key-Value Store")
store: dict[str, Any] = {}


def put(key: str, body: KeyValue) -> dict[str, Any]:
    """Stores a value once path and body agree on the key."""
    if key != body.key:
        error = f"Key in path '{key}' does not match key in body '{body.key}'"
        raise HTTPException(400, {"success": False, "error": error})
    store[key] = body.value
    return {"success": True, "message": "Value stored successfully"}


def must_exist(key: str) -> None:
    """Answers 404 for a key that is not there."""
    if key not in store:
        raise HTTPException(404, {"success": False, "error": f"Key '{key}' not found"})


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/keys/{key}", status_code=status.HTTP_201_CREATED)
async def create(key: str, body: KeyValue) -> dict[str, Any]:
    return put(key, body)


@app.get("/keys/{key}")
async def read(key: str) -> dict[str, Any]:
    must_exist(key)
    return {"success": True, "key": key, "value": store[key]}


@app.put("/keys/{key}")
async def update(key: str, body: KeyValue) -> dict[str, Any]:
    return put(key, body)


@app.delete("/keys/{key}")
async def delete(key: str) -> dict[str, Any]:
    must_exist(key)
    del store[key]
    return {"success": True, "message": "Key deleted successfully"}
