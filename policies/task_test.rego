package sluice.task

import rego.v1

# --- samples ------------------------------------------------------------------------------------

place(name, tenancy, accepts) := {
	"name": name,
	"known": true,
	"tenancy": tenancy,
	"emits": accepts,
	"accepts": accepts,
	"agents": false,
}

warehouse := place("warehouse", "internal", ["personal", "public"])

web := place("web", "internet", ["public"])

open_data := object.union(place("open-data", "internal", ["public"]), {"agents": true})

lost := {"name": "werehouse", "known": false}

pipeline(destinations) := {
	"destinations": destinations,
	"workspace": {"keep": false, "classes": []},
}

keeping(classes) := {"destinations": [], "workspace": {"keep": true, "classes": classes}}

task(destinations, carries) := {"destinations": destinations, "carries": carries}

found(kind, entry, asked) := denied if {
	denied := deny with input.principal.kind as kind
		with input.pipeline as entry
		with input.task as asked
}

rules(kind, entry, asked) := {item.rule | some item in found(kind, entry, asked)}

# --- allowed ------------------------------------------------------------------------------------

test_a_task_that_reaches_nothing_is_allowed if {
	rules("human", pipeline([]), task([], ["personal"])) == set()
	rules("agent", pipeline([]), task([], ["personal"])) == set()
}

test_a_listed_destination_that_accepts_what_the_task_carries_is_allowed if {
	asked := task([warehouse], ["personal", "public"])
	rules("human", pipeline(["warehouse"]), asked) == set()
}

test_public_data_may_go_to_the_internet if {
	rules("human", pipeline(["web"]), task([web], ["public"])) == set()
}

test_an_agent_reaches_what_is_open_to_agents if {
	rules("agent", pipeline(["open-data"]), task([open_data], ["public"])) == set()
}

test_a_kept_workspace_holds_its_classes if {
	rules("human", keeping(["personal", "public"]), task([], ["personal"])) == set()
}

test_a_workspace_that_goes_holds_anything if {
	rules("human", pipeline([]), task([], ["secret"])) == set()
}

# --- denied -------------------------------------------------------------------------------------

test_a_name_that_the_catalogue_lacks_is_denied if {
	rules("human", pipeline(["werehouse"]), task([lost], [])) == {"destination_unknown"}
}

test_an_unknown_name_is_denied_for_nothing_else if {
	asked := task([lost], ["personal"])
	rules("agent", pipeline(["werehouse"]), asked) == {"destination_unknown"}
}

test_a_destination_that_the_pipeline_may_not_reach_is_denied if {
	denied := found("human", pipeline(["web"]), task([warehouse], []))
	denied == {{"rule": "destination_not_allowed", "destination": "warehouse"}}
}

test_each_destination_is_judged if {
	denied := found("human", pipeline(["open-data"]), task([warehouse, open_data, web], []))
	denied == {
		{"rule": "destination_not_allowed", "destination": "warehouse"},
		{"rule": "destination_not_allowed", "destination": "web"},
	}
}

test_an_agent_is_kept_from_what_is_not_open_to_agents if {
	asked := task([warehouse], ["public"])
	rules("agent", pipeline(["warehouse"]), asked) == {"destination_not_for_agents"}
	rules("service", pipeline(["warehouse"]), asked) == set()
}

test_what_the_task_carries_has_to_be_accepted if {
	denied := found("human", pipeline(["web"]), task([web], ["personal", "public"]))
	denied == {{"rule": "class_not_accepted", "destination": "web", "class": "personal"}}
}

test_every_class_has_to_be_accepted_by_every_destination if {
	both := pipeline(["warehouse", "web"])
	denied := found("human", both, task([warehouse, web], ["personal", "secret"]))
	denied == {
		{"rule": "class_not_accepted", "destination": "warehouse", "class": "secret"},
		{"rule": "class_not_accepted", "destination": "web", "class": "personal"},
		{"rule": "class_not_accepted", "destination": "web", "class": "secret"},
	}
}

test_a_catalogue_that_lets_personal_data_out_is_not_believed if {
	shared := place("partner", "shared", ["personal", "public"])
	asked := task([shared], ["personal", "public"])
	rules("human", pipeline(["partner"]), asked) == {"class_leaves_tenancy"}
}

test_a_kept_workspace_refuses_other_classes if {
	denied := found("human", keeping(["public"]), task([], ["personal", "public"]))
	denied == {{"rule": "workspace_class", "class": "personal"}}
}
