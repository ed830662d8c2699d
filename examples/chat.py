"""A chat in ten lines. Run: python examples/chat.py [MODEL]; an empty line ends it."""

import sys

import ouvert

with ouvert.load(sys.argv[1] if len(sys.argv) > 1 else "smollm2") as model:
    messages = []
    while text := input("> "):
        messages.append(ouvert.Message(role="user", content=text))
        answer = ""
        for event in model.chat(messages):
            if isinstance(event, ouvert.TextDelta):
                answer += event.text
                print(event.text, end="", flush=True)
        messages.append(ouvert.Message(role="assistant", content=answer))
        print()
