# May this principal ask for this pipeline at all? Asked before anything of it has been executed,
# and again with every later decision; once for each member of the chain.
package sluice.admit

import rego.v1

kinds := ["human", "agent", "service"]

deny contains {"rule": "principal_unknown_kind", "kind": input.principal.kind} if {
	not input.principal.kind in kinds
}

# People and services launch what one of their groups may launch.
deny contains {
	"rule": "launcher_not_in_group",
	"launchers": input.pipeline.launchers,
	"owner": input.pipeline.owner,
} if {
	input.principal.kind != "agent"
	not launcher
}

launcher if {
	some group in input.principal.groups
	group in input.pipeline.launchers
}

# An agent comes on top of the people it acts for: the pipeline has to be open to agents, and
# somebody has to answer for this one.
deny contains {"rule": "agent_not_allowed", "owner": input.pipeline.owner} if {
	input.principal.kind == "agent"
	not input.pipeline.agents_allowed
}

deny contains {"rule": "agent_owner_unknown"} if {
	input.principal.kind == "agent"
	is_null(input.principal.owner)
}

deny contains {
	"rule": "too_many_running",
	"running": input.history.running,
	"most": data.limits.running,
} if {
	input.history.running >= data.limits.running
}
