"""Runs in ComfyUI's Python (which brings aiohttp): posts a prompt and counts what the editor would be shown.

    <ComfyUI's python> watch_prompt.py <port> <file with the API-format graph> <node id> [preview method] [cancel at]

Prints one line of JSON: pictures sent while that node ran, their size, texts shown in it, progress values and their
maxima, seconds, and how the prompt ended. "cancel at": press Cancel when progress first reaches this value.
"""

import asyncio
import io
import json
import struct
import sys
import time

import aiohttp
from PIL import Image

PREVIEW, TEXT, PREVIEW_WITH_METADATA = 1, 3, 4


async def watch(port, graph, node, preview=None, cancel_at=None):
    seen = {"pictures": 0, "size": None, "texts": [], "values": [], "maxima": [], "seconds": 0.0, "ended": None}
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{base}/ws?clientId=watcher") as socket:
        body = {"prompt": graph, "client_id": "watcher"}
        if preview is not None:
            body["extra_data"] = {"preview_method": preview}
        prompt_id = (await (await session.post(f"{base}/prompt", json=body)).json())["prompt_id"]
        running = began = None
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                (kind,) = struct.unpack(">I", message.data[:4])
                if kind in {PREVIEW, PREVIEW_WITH_METADATA} and running == node:
                    start = 8 if kind == PREVIEW else 8 + struct.unpack(">I", message.data[4:8])[0]
                    seen["size"] = Image.open(io.BytesIO(message.data[start:])).size
                    seen["pictures"] += 1
                elif kind == TEXT:
                    seen["texts"].append(message.data[4:].decode(errors="replace"))
            elif message.type == aiohttp.WSMsgType.TEXT:
                event = json.loads(message.data)
                data = event.get("data", {})
                if event["type"] == "executing" and data.get("prompt_id") == prompt_id:
                    if running == node:
                        seen["seconds"] = time.monotonic() - began
                    running, began = data.get("node"), time.monotonic()
                    if running is None:
                        seen["ended"] = "done"
                        break
                elif event["type"] == "progress" and running == node:
                    seen["values"].append(data["value"])
                    seen["maxima"].append(data["max"])
                    if cancel_at is not None and data["value"] >= cancel_at:
                        cancel_at = None
                        await session.post(f"{base}/interrupt", json={})
                elif event["type"] in {"execution_error", "execution_interrupted"}:
                    seen["ended"] = event["type"]
                    break
    return {**seen, "prompt_id": prompt_id}


if __name__ == "__main__":
    port, path, node, *rest = sys.argv[1:]
    preview = rest[0] if rest else None
    cancel_at = int(rest[1]) if len(rest) > 1 else None
    with open(path, encoding="utf-8") as file:
        print(json.dumps(asyncio.run(watch(int(port), json.load(file), node, preview, cancel_at))))
