# Decides one tool call, or one action of a change. The input document is described in policies/README.md.
#
# Nothing here is a deny rule. A deny rule that is mistyped, or that meets a missing field, is undefined, and an
# undefined denial lets everything through. So each check states "pass" itself, ends in a failure or has a
# failing default, and says "pass" only on what it positively found. A call is allowed when every check is there and every one passed.
package twin.policy

decision := {"allow": allow, "checks": checks}

default allow := false

allow if {
	count(checks) == count(standing_checks) + count(input.nets.never)
	every check in checks {
		check.pass == true
	}
}

checks := array.concat(standing_checks, never_checks)

standing_checks := [
	call_form,
	nets_form,
	identity,
	purpose,
	rehearsal,
	nodes,
	restart_rate,
	freeze,
	verdict,
	evidence_level,
]

passed(name, reason, source) := {"name": name, "pass": true, "reason": reason, "source": source}

failed(name, reason, source) := {"name": name, "pass": false, "reason": reason, "source": source}

# A whole number that can count something. OPA compares values of different types without complaint ("7" > 5 is
# true), so nothing is compared before it went through here.
is_count(value) if {
	is_number(value)
	value == floor(value)
	value >= 0
	value <= 1000000000
}

is_time_s(value) if {
	is_number(value)
	value == floor(value)
	value >= 0
	value <= 253402300799
}

is_name(value) if {
	is_string(value)
	trim_space(value) != ""
}
