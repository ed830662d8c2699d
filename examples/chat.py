"""A chat in ten lines. Run: python examples/chat.py MODEL, for example smollm2; an empty line ends it."""

import sys

import ouvert

if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
    sys.exit(__doc__)
with ouvert.load(sys.argv[1]) as model:
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
