"""Runs in ComfyUI's Python (which brings aiohttp): posts a prompt and counts what the editor would be shown.

    <ComfyUI's python> watch_prompt.py <port> <file with the API-format graph> <node id>

Prints one line of JSON: pictures sent while that node ran, their size, texts shown in it, progress values, seconds.
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


async def watch(port, graph, node):
    seen = {"pictures": 0, "size": None, "texts": [], "values": [], "seconds": 0.0}
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{base}/ws?clientId=watcher") as socket:
        body = {"prompt": graph, "client_id": "watcher"}
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
                        break
                elif event["type"] == "progress" and running == node:
                    seen["values"].append(data["value"])
                elif event["type"] in {"execution_error", "execution_interrupted"}:
                    break
    return {**seen, "prompt_id": prompt_id}


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as file:
        print(json.dumps(asyncio.run(watch(int(sys.argv[1]), json.load(file), sys.argv[3]))))
