package sluice.admit

import rego.v1

# --- samples ------------------------------------------------------------------------------------

member(kind, groups, owner) := {"kind": kind, "groups": groups, "owner": owner}

analyst := member("human", ["analysts"], null)

agent := member("agent", [], "ada")

report(launchers, agents_allowed) := {
	"name": "report",
	"owner": "analysts",
	"launchers": launchers,
	"agents_allowed": agents_allowed,
}

rules(principal, pipeline, running) := {found.rule | some found in denied} if {
	denied := deny with input.principal as principal
		with input.pipeline as pipeline
		with input.history.running as running
		with data.limits.running as 20
}

# --- allowed ------------------------------------------------------------------------------------

test_a_member_of_a_launching_group_is_admitted if {
	rules(analyst, report(["stewards", "analysts"], false), 0) == set()
}

test_a_service_is_admitted_by_its_group if {
	rules(member("service", ["night"], null), report(["night"], false), 0) == set()
}

test_an_owned_agent_is_admitted_where_agents_are_allowed if {
	rules(agent, report([], true), 0) == set()
}

test_one_below_the_limit_is_admitted if {
	rules(analyst, report(["analysts"], false), 19) == set()
}

# --- denied -------------------------------------------------------------------------------------

test_nobody_launches_without_a_launching_group if {
	rules(analyst, report(["stewards"], true), 0) == {"launcher_not_in_group"}
	rules(member("human", [], null), report(["analysts"], true), 0) == {"launcher_not_in_group"}
}

test_an_empty_list_of_launchers_admits_nobody if {
	rules(analyst, report([], true), 0) == {"launcher_not_in_group"}
}

test_agents_stay_out_unless_the_pipeline_lets_them_in if {
	rules(agent, report(["analysts"], false), 0) == {"agent_not_allowed"}
}

test_a_group_does_not_let_an_agent_in if {
	mixed := member("agent", ["analysts"], "ada")
	rules(mixed, report(["analysts"], false), 0) == {"agent_not_allowed"}
}

test_somebody_answers_for_an_agent if {
	rules(member("agent", [], null), report([], true), 0) == {"agent_owner_unknown"}
}

test_an_unknown_kind_is_denied_even_with_a_group if {
	strange := member("ghost", ["analysts"], null)
	rules(strange, report(["analysts"], true), 0) == {"principal_unknown_kind"}
}

test_the_limit_of_running_launches_denies if {
	rules(analyst, report(["analysts"], false), 20) == {"too_many_running"}
	rules(analyst, report(["analysts"], false), 21) == {"too_many_running"}
}

test_a_denial_says_which_groups_would_do if {
	denied := deny with input.principal as member("human", [], null)
		with input.pipeline as report(["analysts", "stewards"], false)
		with input.history.running as 0
	denied == {{
		"rule": "launcher_not_in_group",
		"launchers": ["analysts", "stewards"],
		"owner": "analysts",
	}}
}
