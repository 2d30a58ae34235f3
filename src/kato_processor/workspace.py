"""What a session's record keeps for the processor: one JSON text, replaced as a whole."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from uuid import uuid4

from kato_processor.learning import Batch
from kato_processor.memory import Lesson, Memory
from kato_processor.settings import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Node, config and memory of a session.

    `lessons` were taken out of the memory and are being learned: whoever finds them here learns
    them before anything else, so that a crash between the two writes loses nothing. `lesson_number`
    rises with every such batch of this `learner`, so that none is learned twice.
    """

    node_id: str
    learner: str = field(default_factory=lambda: uuid4().hex)
    config: Config = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    lessons: list[Lesson] = field(default_factory=list)
    lesson_number: int = 0

    def to_json(self) -> str:
        document: dict[str, Any] = {
            "node_id": self.node_id,
            "learner": self.learner,
            "config": self.config,
            "memory": self.memory.to_document(),
            "lesson_number": self.lesson_number,
        }
        if self.lessons:
            document["lessons"] = [lesson.to_document() for lesson in self.lessons]
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        document = json.loads(text)
        return cls(
            node_id=document["node_id"],
            learner=document["learner"],
            config=document["config"],
            memory=Memory(**document["memory"]),
            lessons=[Lesson(**lesson) for lesson in document.get("lessons", ())],
            lesson_number=document["lesson_number"],
        )

    def teaching(self, lessons: Sequence[Lesson]) -> Self:
        """With these lessons on their way; earlier ones must have been learned."""
        number = self.lesson_number + bool(lessons)
        return replace(self, lessons=list(lessons), lesson_number=number)

    def batch(self) -> Batch | None:
        """The lessons on their way to the node."""
        if not self.lessons:
            return None
        return Batch(learner=self.learner, number=self.lesson_number, lessons=self.lessons)
