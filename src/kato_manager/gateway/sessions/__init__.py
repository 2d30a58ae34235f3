"""Sessions at the gateway: who is bound to which instance, what was asked, when and how it went.

places      where sessions, bindings and archives of a KATO_HOME are, and how they live
bindings    node or user -> instance; outlives sessions
instances   which instances speak sessions, and which of them an owner gets
calls       HTTP requests to instances
attached    the session that an instance keeps for one of ours
service     the operations: create, forward, query, chat, delete
paths       which session a path names
bodies      what requests may say, under all its names
shown       what answers say
router      the HTTP API
"""
