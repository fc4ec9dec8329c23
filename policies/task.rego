# May this task reach what it asks for, with what it carries? Asked once for each task of the graph
# and each member of the chain.
package sluice.task

import rego.v1

deny contains {"rule": "destination_unknown", "destination": destination.name} if {
	some destination in input.task.destinations
	not destination.known
}

deny contains {"rule": "destination_not_allowed", "destination": destination.name} if {
	some destination in input.task.destinations
	not destination.name in input.pipeline.destinations
}

# Where an agent takes part, a launch has the narrower rights of agents.
deny contains {"rule": "destination_not_for_agents", "destination": destination.name} if {
	input.principal.kind == "agent"
	some destination in input.task.destinations
	destination.known
	not destination.agents
}

# The path counts: `carries` holds what any task before this one may have learnt.
deny contains {
	"rule": "class_not_accepted",
	"destination": destination.name,
	"class": class,
} if {
	some destination in input.task.destinations
	some class in input.task.carries
	destination.known
	not class in destination.accepts
}

# Beyond our own walls only what is public, whatever the catalogue accepts by mistake.
deny contains {
	"rule": "class_leaves_tenancy",
	"destination": destination.name,
	"class": class,
} if {
	some destination in input.task.destinations
	destination.tenancy != "internal"
	some class in input.task.carries
	class != "public"
	class in destination.accepts
}

# A workspace that stays is a way from one launch into the next.
deny contains {"rule": "workspace_class", "class": class} if {
	input.pipeline.workspace.keep
	some class in input.task.carries
	not class in input.pipeline.workspace.classes
}
