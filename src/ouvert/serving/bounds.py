"""What the numbers of a request may be: each dialect's bounds, as its own documents state them."""

from typing import Annotated

from pydantic import Field

from ouvert.serving.wire import Several

MOST_STOPS = 16  # OpenAI takes 4; editors and agents send more, and other servers take them

# OpenAI's: https://platform.openai.com/docs/api-reference (chat, responses, completions).
OpenAITemperature = Annotated[float, Field(ge=0, le=2)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]
# Anthropic's: https://docs.claude.com/en/api/messages.
AnthropicTemperature = Annotated[float, Field(ge=0, le=1)]
# Ollama states none. Beyond this nothing is left of what the model thinks likely.
OllamaTemperature = Annotated[float, Field(ge=0, le=1000)]
# Everywhere.
Share = Annotated[float, Field(ge=0, le=1)]
RepetitionPenalty = Annotated[float, Field(gt=0, le=10)]
StopList = Annotated[Several[str], Field(max_length=MOST_STOPS)]
