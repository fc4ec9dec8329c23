# The launch as a whole: how large, how dangerous, and whether people have agreed to this code.
package sluice.launch

import rego.v1

tier := data.limits.tiers[input.pipeline.tier]

deny contains {
	"rule": "too_many_tasks",
	"tasks": input.request.tasks,
	"tier": input.pipeline.tier,
	"most": tier.max_tasks,
} if {
	input.request.tasks > tier.max_tasks
}

deny contains {"rule": "enforcement_required", "tier": input.pipeline.tier} if {
	tier.need_enforcement
	input.request.enforcement == "none"
	not input.pipeline.allow_unenforced
}

needs_approval contains {
	"rule": "tier_needs_people",
	"tier": input.pipeline.tier,
	"approvers": tier.approvers,
} if {
	tier.ask_people
}

needs_approval contains {
	"rule": "content_never_approved",
	"code_digest": input.pipeline.code_digest,
	"approvers": tier.approvers,
} if {
	not input.pipeline.code_digest in input.history.approved_code_digests
	not approved_beforehand
}

# Moments are RFC 3339 in UTC with milliseconds, all of them: their texts compare as they do.
approved_beforehand if {
	input.pipeline.standing_approval.code_digest == input.pipeline.code_digest
	input.time < input.pipeline.standing_approval.until
}
