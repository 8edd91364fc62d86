# What must have been seen before production is touched.
package twin.policy

# Rollback restores what was there and waits for nothing; break-glass is a human's word instead of evidence.
purposes_without_evidence := {"break_glass", "propose", "read", "rehearse", "rollback"}

default rehearsal := {
	"name": "rehearsal",
	"pass": false,
	"reason": "purpose or target_is_live is unknown",
	"source": "",
}

rehearsal := passed("rehearsal", "not a rehearsal", "") if {
	input.call.purpose in (purposes - {"rehearse"})
} else := passed("rehearsal", "rehearsed away from production", "") if {
	input.call.purpose == "rehearse"
	input.facts.target_is_live == false
} else := failed("rehearsal", "a rehearsal never touches a live target", "") if {
	input.call.purpose == "rehearse"
	input.facts.target_is_live == true
}

default verdict := {"name": "verdict", "pass": false, "reason": "the rehearsal's verdict is unknown", "source": ""}

verdict := passed("verdict", $"{input.call.purpose} needs no verdict", "") if {
	input.call.purpose in purposes_without_evidence
} else := passed("verdict", "rehearsed, effective", "") if {
	input.call.purpose == "promote"
	input.facts.verdict == "effective"
} else := passed("verdict", "rehearsed, harmless, which may be promoted", input.nets.harmless.source) if {
	input.call.purpose == "promote"
	input.facts.verdict == "harmless"
	input.nets.harmless.promote == true
} else := failed("verdict", "only harmless: not seen to end the incident", input.nets.harmless.source) if {
	input.call.purpose == "promote"
	input.facts.verdict == "harmless"
	input.nets.harmless.promote == false
} else := failed("verdict", $"the rehearsal's verdict is {input.facts.verdict}", "") if {
	input.call.purpose == "promote"
	is_string(input.facts.verdict)
}

default evidence_level := {
	"name": "evidence_level",
	"pass": false,
	"reason": "target_is_live or the evidence level is unknown",
	"source": "",
}

# "simulated" is refused here too: a model has never seen this target's API server.
evidence_level := passed("evidence_level", $"{input.call.purpose} needs no evidence level", "") if {
	input.call.purpose in purposes_without_evidence
} else := passed("evidence_level", "the target is not live", "") if {
	input.call.purpose == "promote"
	input.facts.target_is_live == false
} else := passed("evidence_level", $"{input.facts.evidence_level} suffices", input.nets.evidence.source) if {
	input.call.purpose == "promote"
	input.facts.target_is_live == true
	is_array(input.nets.evidence.levels)
	input.facts.evidence_level in input.nets.evidence.levels
	input.facts.evidence_level in {"control_plane", "stand_ins", "real_images"}
} else := failed(
	"evidence_level",
	$"evidence of level {input.facts.evidence_level} does not suffice for a live target",
	input.nets.evidence.source,
) if {
	input.call.purpose == "promote"
	input.facts.target_is_live == true
	is_string(input.facts.evidence_level)
}
