"""The guest: what runs next to pipeline code, inside a sandbox or a pod, and never beside us.

Standard library and Luigi only; nothing of ``gateway`` is imported, so the folder works wherever
it is mounted: ``python -I -S -B /guest/__main__.py MODE TREE WORKDIR``. Everything the guest says
is untrusted: the pipeline runs in the same process and can say the same things.

Three ways to be started: ``resolve`` and ``serve`` in a sandbox of this machine, and without
arguments as the only process of a pod.

Descriptor 4 holds the spec of the first two, a JSON object::

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

In a pod
--------

``python3 -I -B /sluice/guest.pyz`` is the whole package as one file. Its order is JSON, in
``/sluice-task/task.json``, or, where there is no such file, in the variable ``SLUICE_TASK``::

    {"v": 1, "mode": "run" | "probe" | "resolve", "module", "workdir", "max_nodes", "max_edges",
     "code_digest": hex | null,     null: compute it, of code in the image, for ``resolve`` only
     "tree": path | null,           of the code in the image; null: it is /sluice-code/code.zip
     "image": name | null,          with a tree: code_digest covers both (``image_digest``)
     "node": NODE, "known": [task_id, ...], "families": [[module, family, [egress, ...]], ...],
     "nodes": [NODE, ...],                                                    run above, probe here
     "family", "parameters": {name: text}, "cpu_seconds", "file_mb"}          resolve
     "seal": hex,                   perhaps: report and graph are sealed under it (``pod_seal``)
    {"v": 1, "mode": "canary", "host", "port", "seconds"}                     no pipeline at all

``known`` and ``families`` are what the task may yield: approved tasks, and possible ones. The
report goes to ``/dev/termination-log``: at most 4,096 bytes of ASCII, JSON, or ``z:`` and the
base64 of that deflated; sealed, either is behind ``s:`` in base64. There is nothing at all where
the pipeline ended the process::

    run       {"v": 1, "result": {as above, with "outputs_cut": true where some had no room}}
    probe     {"v": 1, "complete": BITS, "unclear": {index: text}, "unclear_all": BITS}
    resolve   {"v": 1, "graph": {"bytes", "sha256"}, "code_digest": hex of the tree}
    canary    {"v": 1, "canary": "unreachable" | "reached"}
    any       {"v": 1, "error": {"code", "message", "where"}}        it could not begin, or ended

BITS is a number in hexadecimal, bit i for node i, empty for none; ``unclear_all`` is there when
not every text had room. Of ``yields`` the ``nodes`` are in short form::

    5                                     known[5]
    {"f": 0}                              the possible node of families[0]
    {"f": 0, "t": task_id, "p": {name: text}, "x": [name of a private one, ...],
     "d": [index in nodes, ...]}          a new task of it, with "kind", "priority", "resources",
                                          "retry_count", "worker_timeout", "disabled" and
                                          "may_yield" where they are not Luigi's defaults
    {"u": [module, family, [egress, ...]]}    none of these, for the gateway to refuse

The graph of ``resolve`` is the last thing in the log: the deflated JSON in base64, in lines,
between ``-----BEGIN SLUICE GRAPH-----`` and ``-----END SLUICE GRAPH-----``. Exit codes: 0, 1 with
a failure or a reached canary, 74 where the report could not be written, 143 after SIGTERM.
"""
