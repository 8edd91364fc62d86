# The safety nets: the file that people edit, as policies/safety_nets.py hands it over.
package twin.policy

default nets_form := {"name": "nets_form", "pass": false, "reason": "the safety nets cannot be read", "source": ""}

nets_form := passed("nets_form", "the safety nets can be read", "") if {
	is_array(input.nets.never)
	count(input.nets.never) > 0
	every net in input.nets.never {
		is_net(net)
	}
	is_count(input.nets.nodes.max)
	is_count(input.nets.restart_rate.per_minute_max)
	is_array(input.nets.freezes)
	is_array(input.nets.evidence.levels)
	is_boolean(input.nets.harmless.promote)
}

# never --------------------------------------------------------------------------------------------------------

never_checks := [never_check(net) | some net in input.nets.never]

never_check(net) := failed("never", "this net cannot be read", "") if {
	not is_net(net)
} else := failed(net.name, "the call cannot be read", net.source) if {
	not call_form.pass
} else := failed(net.name, $"the call says \"{phrase_of(net)}\"", net.source) if {
	phrase_of(net)
} else := passed(net.name, $"does not concern {input.call.kind}", net.source) if {
	input.call.kind in (kinds - kinds_of(net))
} else := passed(net.name, $"does not concern the namespace \"{input.call.target.namespace}\"", net.source) if {
	count(net.namespaces) > 0
	not plain(input.call.target.namespace) in {plain(name) | some name in net.namespaces}
} else := failed(net.name, "the target's subnet is unknown", net.source) if {
	count(net.subnets) > 0
	not subnet_known
} else := passed(net.name, $"the subnet is \"{input.facts.subnet}\"", net.source) if {
	count(net.subnets) > 0
	not plain(input.facts.subnet) in {plain(name) | some name in net.subnets}
} else := failed(net.name, "the target's labels are unknown", net.source) if {
	count(net.labels) > 0
	not labels_known
} else := passed(net.name, "the target does not bear the labels", net.source) if {
	some key, value in net.labels
	object.get(input.facts.labels, key, null) != value
} else := failed(net.name, $"{input.call.kind} of {input.call.target.kind} \"{input.call.target.name}\"", net.source)

# `not is_object(input.facts.labels)` would be undefined, and not true, where there are no labels at all: OPA takes
# a builtin's arguments out of the negation. Negate a rule, not a builtin.
labels_known if is_object(input.facts.labels)

subnet_known if is_name(input.facts.subnet)

is_net(net) if {
	is_name(net.name)
	is_string(net.source)
	is_array(net.actions)
	is_boolean(net.any_action)
	is_array(net.namespaces)
	is_array(net.subnets)
	is_object(net.labels)
	is_array(net.phrases)
	every word in array.concat(array.concat(net.actions, net.namespaces), array.concat(net.subnets, net.phrases)) {
		is_name(word)
	}
}

kinds_of(net) := actions if net.any_action

kinds_of(net) := {kind | some kind in net.actions} if net.any_action == false

# A tripwire, not a parser: the typed tools carry no SQL, so a call that says "drop table" is already odd.
phrase_of(net) := phrases[0] if {
	phrases := [phrase | some phrase in net.phrases; some text in call_texts; contains(text, words(phrase))]
	count(phrases) > 0
}

call_texts contains words(input.call.tool)

call_texts contains words(input.call.target.name)

call_texts contains words(value) if {
	walk(input.call.params, [_, value])
	is_string(value)
}

call_texts contains words(key) if {
	walk(input.call.params, [path, _])
	some key in path
	is_string(key)
}

# " DROP\n TABLE" and "drop_table" both read " drop table ".
words(text) := concat("", [" ", concat(" ", [word | some word in split(spaced, " "); word != ""]), " "]) if {
	separators := ["\n", "\r", "\t", "_", "-", "/", "*", ";", ",", "(", ")", "\"", "'", "`", "."]
	spaced := strings.replace_n({mark: " " | some mark in separators}, lower(text))
}

plain(name) := lower(trim_space(name))

# nodes --------------------------------------------------------------------------------------------------------

default nodes := {"name": "nodes", "pass": false, "reason": "the predicted end state is unknown", "source": ""}

nodes := passed("nodes", "a read adds no nodes", "") if {
	input.call.purpose == "read"
} else := passed("nodes", "judged on the end state, once that is predicted", "") if {
	input.call.purpose == "propose"
	object.get(input.facts, "predicted_end_state", null) == null
} else := passed("nodes", $"would reach {nodes_reached} nodes", input.nets.nodes.source) if {
	input.call.purpose in purposes
	is_count(input.nets.nodes.max)
	nodes_reached <= input.nets.nodes.max
} else := failed(
	"nodes",
	$"would reach {nodes_reached} nodes, more than {input.nets.nodes.max}",
	input.nets.nodes.source,
) if {
	is_count(input.nets.nodes.max)
	nodes_reached > input.nets.nodes.max
} else := failed("nodes", "the predicted end state is unknown", input.nets.nodes.source)

# What autoscalers may do later counts as done: a raised maximum is how 101 nodes come about at night.
nodes_reached := max({input.facts.predicted_end_state.nodes, input.facts.predicted_end_state.max_replicas_nodes}) if {
	is_count(input.facts.predicted_end_state.nodes)
	is_count(input.facts.predicted_end_state.max_replicas_nodes)
}

# restart rate -------------------------------------------------------------------------------------------------

purposes_without_rate := {"propose", "read", "rehearse"}

default restart_rate := {
	"name": "restart_rate",
	"pass": false,
	"reason": "the pod terminations are unknown",
	"source": "",
}

restart_rate := passed("restart_rate", $"{input.call.purpose} ends no pod in production", "") if {
	input.call.purpose in purposes_without_rate
} else := passed("restart_rate", "a rollback does not wait", "") if {
	input.call.purpose == "rollback"
} else := passed("restart_rate", "ends no pod", input.nets.restart_rate.source) if {
	input.call.purpose in purposes
	is_count(input.facts.pod_terminations_predicted)
	input.facts.pod_terminations_predicted == 0
} else := passed(
	"restart_rate",
	$"{terminations} pod terminations in a minute",
	input.nets.restart_rate.source,
) if {
	input.call.purpose in purposes
	is_count(input.nets.restart_rate.per_minute_max)
	terminations <= input.nets.restart_rate.per_minute_max
} else := failed(
	"restart_rate",
	$"would make {terminations} pod terminations in a minute, more than {input.nets.restart_rate.per_minute_max}",
	input.nets.restart_rate.source,
) if {
	is_count(input.nets.restart_rate.per_minute_max)
	terminations > input.nets.restart_rate.per_minute_max
} else := failed("restart_rate", "the pod terminations are unknown", input.nets.restart_rate.source)

terminations := input.facts.pod_terminations_predicted + input.facts.pod_terminations_last_minute if {
	is_count(input.facts.pod_terminations_predicted)
	is_count(input.facts.pod_terminations_last_minute)
}

# freeze -------------------------------------------------------------------------------------------------------

purposes_in_a_freeze := {"break_glass", "propose", "read", "rehearse", "rollback"}

default freeze := {"name": "freeze", "pass": false, "reason": "the freezes or the time are unknown", "source": ""}

freeze := passed("freeze", $"{input.call.purpose} does not wait for a freeze", "") if {
	input.call.purpose in purposes_in_a_freeze
} else := passed("freeze", "no freeze now", "") if {
	input.call.purpose == "promote"
	is_time_s(input.facts.now_s)
	freezes_readable
	count(freezes_now) == 0
} else := failed("freeze", concat("; ", [$"{one.name} until {one.until}" | some one in freezes_now]), freezes_now[0].source) if {
	input.call.purpose == "promote"
	freezes_readable
	count(freezes_now) > 0
}

freezes_now := [one | some one in input.nets.freezes; covers_now(one)]

freezes_readable if {
	is_array(input.nets.freezes)
	every one in input.nets.freezes {
		is_freeze(one)
	}
}

is_freeze(one) if {
	is_name(one.name)
	is_name(one.until)
	is_string(one.source)
	is_time_s(one.start_s)
	is_time_s(one.end_s)
	one.end_s > one.start_s
	is_count(one.repeat_s)
}

# The end itself is outside: at Monday 06:00 sharp, work may start.
covers_now(one) if {
	one.repeat_s == 0
	input.facts.now_s >= one.start_s
	input.facts.now_s < one.end_s
}

covers_now(one) if {
	one.repeat_s > 0
	since_start_s := (((input.facts.now_s - one.start_s) % one.repeat_s) + one.repeat_s) % one.repeat_s
	since_start_s < one.end_s - one.start_s
}
