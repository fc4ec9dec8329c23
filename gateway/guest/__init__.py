"""The guest: what runs next to pipeline code, inside a sandbox or a pod, and never beside us.

Standard library and Luigi only; nothing of ``gateway`` is imported, so the folder works wherever
it is mounted: ``python -I -S -B /guest/__main__.py MODE TREE WORKDIR``. Everything the guest says
is untrusted: the pipeline runs in the same process and can say the same things.

Descriptor 4 holds the spec, a JSON object::

    {"module", "code_digest", "site_packages": [...], "max_nodes", "max_edges",
     "family", "parameters": {name: text}}            the last two for `resolve` only

Before anything of the pipeline is imported, the bytes of TREE must have ``code_digest``, and
Luigi's configuration is pinned to nothing: no file or variable changes what a task means.

``resolve`` writes one JSON object to descriptor 3 and ends::

    {"root": 0, "nodes": [RECORD, ...]}  or  {"error": {"code", "message", "where"}}

A RECORD refers to others by index, and is what ``records`` makes of a task::

    {"module", "family", "task_id", "kind": "task"|"wrapper"|"external"|"possible",
     "parameters": {name: {"value": text, "private": bool}}, "egress": [name, ...],
     "may_yield": [[family, limit], ...], "deps": [index, ...], "priority",
     "resources": {name: count}, "retry_count", "worker_timeout", "disabled"}

``serve`` imports the pipeline once and answers on descriptor 3, a ``SOCK_SEQPACKET`` socket, one
JSON object a packet, descriptors as ``SCM_RIGHTS``::

    to the guest    {"op": "run", "attempt": ID}      with [payload, log, report]
                    {"op": "probe", "attempt": ID}    with the same three
                    {"op": "kill", "attempt": ID}
    from the guest  {"event": "ready", "layers": {...}}  or  {"event": "failed", "code", "reason"}
                    {"event": "exited", "attempt": ID, "code": int|null, "signal": int|null}

Each attempt is a process of its own, forked from the warm one; ``exited`` comes once for each
accepted ``run`` or ``probe``, after everything that it started has ended. The guest ends when the
socket is closed. ``payload`` is read from its start, as JSON::

    run    {"node": NODE}        NODE = {"module", "family", "parameters": {name: clear text},
    probe  {"nodes": [NODE, ...]}        "task_id", "deps": [task_id, ...]}

``deps`` are the approved static dependencies, possible ones left out. ``log`` becomes the
attempt's standard output and error. To ``report`` it writes JSON lines; for ``run``::

    {"progress": 0..100} | {"message": text} | {"tracking_url": text}       any number of times
    {"result": {"status": "DONE"|"FAILED"|"PENDING", "explanation": text,
                "outputs": [path, ...],
                "yields": null | {"roots": [index, ...], "nodes": [RECORD, ...]}}}

and for ``probe`` one line ``{"complete": [true | false | "error text", ...]}``. An attempt that
ends without its last line has failed.
"""
