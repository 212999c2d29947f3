"""Shows what aam-edge attends to, at full resolution, to a vision-language model.

    aam-edge --camera 0 --prompt "search for cup" --set gaze.crops=2 --set gaze.crops_hz=0.5
    python ask_about_crops.py --server http://127.0.0.1:8000/v1 --model NAME

Any server with the chat interface of OpenAI does, such as llama.cpp, vLLM or Ollama on your own
machine.
"""

import argparse
import json
from base64 import b64encode
from urllib.request import Request, urlopen

import aam_edge


def ask(server, model, question, crop, timeout_s=60):
    """The model's answer about one crop (JPEG, as gaze.crop_form has it by default)."""
    picture = f"data:image/jpeg;base64,{b64encode(crop.data).decode()}"
    parts = [
        {"type": "text", "text": question},
        {"type": "image_url", "image_url": {"url": picture}},
    ]
    body = {"model": model, "max_tokens": 60, "messages": [{"role": "user", "content": parts}]}
    headers = {"Content-Type": "application/json"}
    request = Request(f"{server}/chat/completions", json.dumps(body).encode(), headers)
    with urlopen(request, timeout=timeout_s) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def main():
    """Asks about the newest crops, one after the other, until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="default")
    parser.add_argument("--question", default="What is in the middle of this picture? One line.")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5560")
    parser.add_argument("--frames", type=int, default=0, help="stop after so many; 0: never")
    options = parser.parse_args()
    # A model takes seconds: of what came meanwhile only the newest is looked at.
    for number, crops in enumerate(aam_edge.subscribe_crops(options.endpoint), start=1):
        for crop in crops.crops:
            said = ask(options.server, options.model, options.question, crop)
            x, y, width, height = crop.box
            print(f"target {crop.target_id} at {x}, {y}, {width}x{height} px: {said}", flush=True)
        if number == options.frames:
            break


if __name__ == "__main__":
    main()
