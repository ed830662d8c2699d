"""Grammars compiled over one model's vocabulary. The last ones are remembered."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property

from ouvert.assistant.error import AssistantError
from ouvert.engine import CompiledGrammar, EngineBusyError, EngineError, Grammar, Vocabulary

MOST_COMPILED = 64  # grammars kept compiled


class Grammars:
    """Safe from any thread."""

    def __init__(self, vocabulary: Callable[[], Vocabulary] | None) -> None:
        """`vocabulary` is made when it is first needed. Without one nothing can be compiled."""
        self._make_vocabulary = vocabulary
        self._compiled: OrderedDict[Grammar, CompiledGrammar | EngineError] = OrderedDict()
        self._compiling: dict[Grammar, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def has_vocabulary(self) -> bool:
        return self._make_vocabulary is not None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Raises AssistantError where there is none."""
        if self._make_vocabulary is None:
            raise AssistantError("holding an answer to a form: this model's vocabulary is not known here. Do without.")
        return self._make_vocabulary()

    @property
    def longest_token(self) -> int:
        """Bytes; far more than any token has where there is no vocabulary."""
        return self.vocabulary.longest if self.has_vocabulary else sys.maxsize

    def compiled(self, grammar: Grammar) -> CompiledGrammar:
        """The grammar over this model's vocabulary. Raises EngineError."""
        with self._lock:
            compiling = self._compiling.setdefault(grammar, threading.Lock())
        with compiling:  # whoever asks for another grammar does not wait for this one
            with self._lock:
                found = self._compiled.get(grammar)
            if found is None:
                found = self._compile(grammar)
            with self._lock:
                self._compiling.pop(grammar, None)
                self._compiled[grammar] = found
                self._compiled.move_to_end(grammar)
                while len(self._compiled) > MOST_COMPILED:
                    self._compiled.popitem(last=False)
        if isinstance(found, EngineError):
            raise found.with_traceback(None)
        return found

    def _compile(self, grammar: Grammar) -> CompiledGrammar | EngineError:
        """A refusal is kept like a success: what took long to refuse is not tried again for everybody who waits."""
        try:
            return self.vocabulary.compile(grammar)
        except EngineBusyError:
            raise
        except EngineError as problem:
            return problem
