package sluice.launch

import rego.v1

# --- samples ------------------------------------------------------------------------------------

now := "2026-11-22T08:15:00.000Z"

known := "aa"

unknown := "bb"

limits := {"tiers": {
	"low": {
		"max_tasks": 10,
		"ask_people": false,
		"need_enforcement": false,
		"approvers": ["stewards"],
	},
	"high": {
		"max_tasks": 10,
		"ask_people": true,
		"need_enforcement": true,
		"approvers": ["stewards"],
	},
}}

entry(level, code) := {
	"tier": level,
	"allow_unenforced": false,
	"code_digest": code,
	"standing_approval": null,
}

standing(code, until) := object.union(
	entry("low", code),
	{"standing_approval": {"code_digest": known, "until": until}},
)

request(tasks, enforcement) := {"tasks": tasks, "enforcement": enforcement}

denied(pipeline, asked) := {item.rule | some item in items} if {
	bounds := limits
	items := deny with input.pipeline as pipeline
		with input.request as asked
		with data.limits as bounds
}

needs(pipeline, approved) := {item.rule | some item in items} if {
	moment := now
	bounds := limits
	items := needs_approval with input.pipeline as pipeline
		with input.history.approved_code_digests as approved
		with input.time as moment
		with data.limits as bounds
}

# --- allowed ------------------------------------------------------------------------------------

test_as_many_tasks_as_the_tier_allows if {
	denied(entry("low", known), request(10, "none")) == set()
}

test_a_high_tier_runs_where_network_policy_is_enforced if {
	denied(entry("high", known), request(1, "cilium")) == set()
}

test_a_high_tier_may_be_let_off_enforcement if {
	lenient := object.union(entry("high", known), {"allow_unenforced": true})
	denied(lenient, request(1, "none")) == set()
}

test_code_that_people_approved_before_needs_nobody if {
	needs(entry("low", known), ["cc", known]) == set()
}

test_a_standing_approval_stands_in_for_the_first if {
	needs(standing(known, "2026-11-22T08:15:00.001Z"), []) == set()
}

# --- denied, or sent to people ------------------------------------------------------------------

test_one_task_more_than_the_tier_allows_is_denied if {
	denied(entry("low", known), request(11, "none")) == {"too_many_tasks"}
}

test_a_high_tier_is_denied_where_nothing_enforces if {
	denied(entry("high", known), request(1, "none")) == {"enforcement_required"}
}

test_a_high_tier_waits_for_people_each_time if {
	needs(entry("high", known), [known]) == {"tier_needs_people"}
}

test_code_that_nobody_approved_waits_for_people if {
	needs(entry("low", unknown), [known]) == {"content_never_approved"}
}

test_a_standing_approval_is_for_one_code if {
	needs(standing(unknown, "2027-01-01T00:00:00.000Z"), []) == {"content_never_approved"}
}

test_a_standing_approval_ends if {
	needs(standing(known, now), []) == {"content_never_approved"}
	needs(standing(known, "2026-11-22T08:14:59.999Z"), []) == {"content_never_approved"}
}

test_a_need_names_who_may_agree if {
	bounds := limits
	items := needs_approval with input.pipeline as entry("high", known)
		with input.history.approved_code_digests as ["aa"]
		with data.limits as bounds
	items == {{"rule": "tier_needs_people", "tier": "high", "approvers": ["stewards"]}}
}
