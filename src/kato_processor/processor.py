"""The verbs of a processor: what a session's request does to its memory and to its node."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from kato_processor import steps
from kato_processor.environment import ProcessSettings
from kato_processor.memory import Lesson, Memory, Observation
from kato_processor.node import Node
from kato_processor.nodes import Nodes
from kato_processor.sessions import Session, Sessions
from kato_processor.settings import Config, checked, effective
from kato_processor.steps import Context, Run, SequenceOptions
from kato_processor.workspace import Workspace

if TYPE_CHECKING:
    from kato_processor.prediction import Recall

Json = dict[str, Any]
Outcome = TypeVar("Outcome")
_SETTLED_LIMIT = 100_000
Step = Callable[[Workspace, Node], tuple[Workspace, Outcome]]


class EmptyMemory(Exception):
    """There is nothing to learn."""


class Processor:
    """Thread-safe, and sessions may be used by several processes at once.

    Every change is repeated on the newest state until nobody was faster, and lessons are learned
    exactly once.
    """

    def __init__(self, settings: ProcessSettings, sessions: Sessions, nodes: Nodes) -> None:
        self.settings = settings
        self.sessions = sessions
        self.nodes = nodes
        self._settled: dict[str, int] = {}

    def close(self) -> None:
        self.sessions.close()
        self.nodes.close()

    def config_of(self, session: Session) -> Config:
        """The effective config: process defaults under the session's own."""
        return effective(self.settings.config, session.workspace.config)

    def create(
        self, node_id: str, *, ttl_s: int | None, config: Json, metadata: Json, user_id: str | None
    ) -> Session:
        """A new session; raises InvalidSettings."""
        workspace = Workspace(node_id=node_id, config=checked(config))
        return self.sessions.create(workspace, ttl_s=ttl_s, metadata=metadata, user_id=user_id)

    def configure(self, session_id: str, changes: Json) -> Session:
        """Merge settings into the session's config; raises InvalidSettings, changing nothing."""
        config = checked(changes)
        if "use_token_matching" in config and "sort_symbols" not in config:
            config["sort_symbols"] = config["use_token_matching"]

        def step(workspace: Workspace, _node: Node) -> tuple[Workspace, None]:
            return replace(workspace, config=workspace.config | config, lessons=[]), None

        self._change(session_id, step)
        return self.sessions.read(session_id)

    def observe(self, session_id: str, observation: Observation) -> tuple[Workspace, Lesson | None]:
        """The workspace afterwards, and what was learned by itself."""

        def step(workspace: Workspace, node: Node) -> tuple[Workspace, Lesson | None]:
            lesson = steps.observe(workspace.memory, observation, self._context(workspace, node))
            return workspace.teaching([lesson] if lesson else []), lesson

        return self._change(session_id, step)

    def observe_sequence(
        self, session_id: str, observations: Sequence[Observation], options: SequenceOptions
    ) -> tuple[Workspace, tuple[int, Run]]:
        """The workspace afterwards, the length of the memory before, and what happened."""

        def step(workspace: Workspace, node: Node) -> tuple[Workspace, tuple[int, Run]]:
            memory = workspace.memory
            length = len(memory.events)
            run = steps.observe_sequence(
                memory, observations, options, self._context(workspace, node)
            )
            return workspace.teaching(run.lessons), (length, run)

        return self._change(session_id, step)

    def learn(self, session_id: str) -> tuple[Workspace, Lesson]:
        """Learn the short-term memory and empty it; raises EmptyMemory."""

        def step(workspace: Workspace, _node: Node) -> tuple[Workspace, Lesson]:
            if not workspace.memory.events:
                raise EmptyMemory
            lesson = workspace.memory.learn()
            return workspace.teaching([lesson]), lesson

        return self._change(session_id, step)

    def clear_memory(self, session_id: str) -> Workspace:
        """Empty the short-term memory."""

        def step(workspace: Workspace, _node: Node) -> tuple[Workspace, None]:
            return replace(workspace, memory=Memory(), lessons=[]), None

        return self._change(session_id, step)[0]

    def clear_all(self, session_id: str) -> Workspace:
        """Empty the short-term memory and forget what the node has learned."""
        workspace = self.clear_memory(session_id)
        with self.nodes.using(workspace.node_id) as node:
            node.clear()
        return workspace

    def predict(self, session: Session) -> "Recall":
        with self.nodes.using(session.workspace.node_id) as node:
            return node.predict(session.workspace.memory.events, self.config_of(session))

    def recalled(self, session: Session) -> "Recall":
        """What the last observation recalled: by process defaults, over what was known then."""
        config, memory = self.config_of(session), session.workspace.memory
        if not config["process_predictions"]:
            memory = Memory()
        defaults = self.settings.config | {"rank_sort_algo": config["rank_sort_algo"]}
        seen = memory.events if memory.recalled is None else memory.recalled
        with self.nodes.using(session.workspace.node_id) as node:
            return node.predict(seen, defaults, newest_row=memory.known)

    def finalize_training(self, session: Session) -> int:
        """Fix the entropies of the node's patterns; how many."""
        with self.nodes.using(session.workspace.node_id) as node:
            return node.finalize()

    def settled(self, session_id: str) -> Session:
        """The session, its lessons learned even if whoever took them out has died."""
        session = self.sessions.read(session_id, operation=True)
        if session.workspace.lessons:
            with self.nodes.using(session.workspace.node_id) as node:
                self._settle(session.workspace, node)
        return session

    def _context(self, workspace: Workspace, node: Node) -> Context:
        has_vectors = self.settings.config["indexer_type"] == "VI"  # the process's, as in KATO
        return Context(
            config=effective(self.settings.config, workspace.config),
            vector_symbols=node.near_vectors if has_vectors else None,
            newest_row=node.newest_row(),
        )

    def _change(self, session_id: str, step: Step[Outcome]) -> tuple[Workspace, Outcome]:
        """Apply a step to the newest state, write it, then learn the lessons it took out."""
        while True:
            session = self.sessions.read(session_id)
            with self.nodes.using(session.workspace.node_id) as node:
                self._settle(session.workspace, node)
                workspace, outcome = step(session.workspace, node)
                if self.sessions.write(session, workspace):
                    self._settle(workspace, node)
                    return workspace, outcome

    def _settle(self, workspace: Workspace, node: Node) -> None:
        batch = workspace.batch()
        if batch is None or self._settled.get(batch.learner, 0) >= batch.number:
            return
        config = effective(self.settings.config, workspace.config)
        node.learn(batch, config["persistence"])
        self._settled[batch.learner] = batch.number
        if len(self._settled) > _SETTLED_LIMIT:
            self._settled = {}  # only saves asking the node again
