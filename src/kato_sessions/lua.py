"""The atomic steps of the Redis store, as its own scripts: each is one change or one look."""

from collections.abc import Sequence
from typing import Any

from kato_sessions.backend import Write
from kato_sessions.model import Item, Session, State

COMMIT = """
local spec = cjson.decode(ARGV[1])
local id, k = spec.id, KEYS
local now_doc = redis.call('GET', k[1])
-- a writer that lost several times takes the turn: the others wait until it is through
local turn_key = k[7]
local turn = redis.call('GET', turn_key)
if turn and turn ~= spec.turn then return {'wait', now_doc or ''} end
if spec.turn ~= '' and not turn then redis.call('SET', turn_key, spec.turn, 'PX', 500) end
if spec.seen == '' and now_doc then return {'stale', now_doc} end
if spec.seen ~= '' and (not now_doc or redis.sha1hex(now_doc) ~= spec.seen) then
  return {'stale', now_doc or ''} end
for index, limit in ipairs(spec.limits) do
  if limit > 0 and redis.call('ZCOUNT', spec.limit_keys[index], '(' .. spec.now, '+inf') >= limit
  then return {'full' .. index} end
end
for _, key in ipairs(spec.leave) do redis.call('ZREM', key, id) end
redis.call('SET', k[1], ARGV[2])
if spec.turn ~= '' then redis.call('DEL', turn_key) end
if spec.keep == '0' then redis.call('DEL', k[2], k[4]) end
for index = 4, #ARGV do redis.call('RPUSH', k[2], ARGV[index]) end
if spec.keep ~= '' and spec.keep ~= '0' then redis.call('LTRIM', k[2], -spec.keep, -1) end
if spec.workspace == 'set' then redis.call('SET', k[3], ARGV[3]) end
if spec.workspace == 'drop' then redis.call('DEL', k[3]) end
for name, range in pairs(spec.keys) do redis.call('HSET', k[4], name, range) end
for _, key in ipairs(spec.expiry) do
  if spec.deadline == '' then redis.call('ZREM', key, id)
  else redis.call('ZADD', key, spec.deadline, id) end
end
for _, key in ipairs(spec.created) do redis.call('ZADD', key, spec.created_at, id) end
redis.call('HSET', k[6], id, spec.owners)
if spec.due == '' then redis.call('ZREM', k[5], id)
else redis.call('ZADD', k[5], spec.due, id) end
for index = 1, 4 do
  if spec.ttl == '' then redis.call('PERSIST', k[index])
  else redis.call('PEXPIRE', k[index], spec.ttl) end
end
return {'done'}
"""
REMOVE = """
if ARGV[2] ~= '*' and (redis.call('ZSCORE', KEYS[5], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local gone = redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[6], ARGV[1])
for index = 8, #KEYS do redis.call('ZREM', KEYS[index], ARGV[1]) end
return gone
"""
ITEMS = """
local head = redis.call('LINDEX', KEYS[1], 0)
if not head then return '[]' end
-- the last one in the text is the item's own; cjson refuses some texts that JSON allows
local first = tonumber(string.match(head, '.*"seq":(%d+),"session_id":"'))
if not first then return 'no JSON: the first item is corrupt' end
local size = redis.call('LLEN', KEYS[1])
local start = math.max(0, ARGV[1] + 1 - first)
local stop = size - 1
if ARGV[2] ~= '' then stop = math.min(stop, ARGV[2] - first - 1) end
if start > stop then return '[]' end
local limit = tonumber(ARGV[3])
if ARGV[4] == '1' then start = math.max(start, stop - limit + 1)
else stop = math.min(stop, start + limit - 1) end
-- one text: a hundred replies cost the client more than parsing them as one
return '[' .. table.concat(redis.call('LRANGE', KEYS[1], start, stop), ',') .. ']'
"""
LEASE = """
local held = redis.call('HMGET', KEYS[1], 'holder', 'until')
if held[1] and held[1] ~= ARGV[1] and tonumber(held[2]) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'until', ARGV[3])
return 1
"""


def commit_spec(write: Write, *, grace_ms: int) -> dict[str, Any]:
    """What COMMIT is to do with a write; the names of keys come from `redis_keys.py`."""
    session = write.session
    return {
        "id": session.id,
        "keep": "" if write.keep_items is None else str(write.keep_items),
        "workspace": _workspace_step(write.workspace),
        "keys": _spans(write.items),
        "created_at": str(session.created_at),
        "deadline": _deadline(session),
        "due": "" if session.due_at is None else str(session.due_at),
        "ttl": _native_ttl(session, grace_ms),
    }


def _spans(items: Sequence[Item]) -> dict[str, str]:
    spans: dict[str, list[int]] = {}
    for item in items:
        if item.idempotency_key:
            spans.setdefault(item.idempotency_key, []).append(item.seq)
    return {key: f"{min(seqs)} {max(seqs)}" for key, seqs in spans.items()}


def _workspace_step(text: str | None) -> str:
    if text is None:
        return ""
    return "set" if text else "drop"


def _deadline(session: Session) -> str:
    if session.state is not State.ACTIVE:
        return ""
    return "+inf" if session.expires_at is None else str(session.expires_at)


def _native_ttl(session: Session, grace_ms: int) -> str:
    """How long Redis shall keep it from now, "" = for ever; never shorter than what is left."""
    if session.due_at is None:
        return ""
    started = session.last_access if session.state is State.ACTIVE else _ended_at(session)
    return str(max(1, session.due_at - started + grace_ms))


def _ended_at(session: Session) -> int:
    return session.deleted_at or session.archived_at or session.last_access
