//! Where Debian's crun does something else, one reason per test: these are skipped for it.

/// The name of a test and how crun 1.8.1 differs.
const CRUN: &[(&str, &str)] = &[
    (
        "cgroups::limits::a_relative_path_starts_at_the_callers_cgroup",
        "relative paths start at the top",
    ),
    (
        "cgroups::limits::pids_limit_is_applied",
        "it writes -1 to pids.max",
    ),
    (
        "cgroups::limits::limits_that_the_kernel_refuses_are_refused",
        "it leaves the cgroups behind",
    ),
    (
        "cgroups::limits::limits_without_their_controller_are_refused_in_the_v2_view",
        "it leaves the cgroup behind",
    ),
    (
        "cgroups::devices::device_rules_decide_in_the_v2_view",
        "it raises RLIMIT_MEMLOCK, which takes CAP_SYS_RESOURCE",
    ),
    (
        "errors::config::a_hook_timeout_that_is_not_positive_is_refused",
        "it takes no time for none",
    ),
    (
        "hooks::when::runtime_hooks_get_the_status_creating",
        "they are told that it is created",
    ),
    (
        "hooks::when::create_container_hooks_run_in_the_containers_namespaces",
        "they are told that it is created",
    ),
    (
        "hooks::when::create_container_hooks_start_in_the_root_with_its_mounts",
        "they begin in the bundle",
    ),
    (
        "hooks::when::create_container_hooks_get_the_pid_in_the_container",
        "they are told 0",
    ),
    (
        "hooks::when::hooks_run_after_a_user_namespace_is_set_up",
        "startContainer hooks are told nothing",
    ),
    (
        "hooks::when::start_container_hooks_run_inside_before_the_program",
        "they are told that it is starting, and 0",
    ),
    (
        "hooks::when::start_container_hooks_write_to_the_output_of_the_container",
        "what they write goes nowhere",
    ),
    (
        "hooks::inside::start_container_hooks_have_the_filter_of_the_process",
        "startContainer hooks are told nothing",
    ),
    (
        "hooks::inside::start_container_hooks_have_the_limits_of_the_process",
        "startContainer hooks are told nothing",
    ),
    (
        "hooks::inside::output_of_a_failing_hook_on_a_terminal_is_shown",
        "what they write goes nowhere",
    ),
    (
        "lifecycle::unexecuted::run_exits_with_1_when_execve_fails",
        "it says so in its own words",
    ),
    (
        "lifecycle::unexecuted::start_succeeds_when_only_execve_fails",
        "it says so in its own words",
    ),
    (
        "seccomp::loading::a_failure_of_execve_is_reported_even_if_the_profile_denies_sending",
        "it says so in its own words",
    ),
    (
        "terminal::unread::with_all_streams_redirected_the_terminal_is_dev_tty",
        "it takes no /dev/tty",
    ),
    (
        "hooks::when::poststart_hooks_run_after_the_program_and_before_start_returns",
        "they run in a mount namespace of its own",
    ),
    (
        "hooks::when::poststop_hooks_run_after_the_container_is_deleted",
        "its directory is still there",
    ),
    (
        "hooks::program::without_args_the_path_is_the_only_argument",
        "there is none at all",
    ),
    (
        "hooks::program::without_env_the_environment_is_empty",
        "they get the caller's",
    ),
    (
        "hooks::program::cve_2025_23266_no_hook_gets_the_environment_of_the_image",
        "createContainer hooks begin in the bundle",
    ),
    (
        "hooks::program::a_hook_need_not_read_the_state",
        "it dies of SIGPIPE",
    ),
    (
        "hooks::program::a_large_state_reaches_the_hook_completely",
        "startContainer hooks get none of it",
    ),
    (
        "hooks::failures::a_failing_hook_during_create_destroys_the_container",
        "it ends with 255",
    ),
    (
        "hooks::failures::a_failing_start_container_hook_destroys_the_container",
        "it dies of SIGPIPE",
    ),
    (
        "hooks::failures::a_failing_poststart_hook_destroys_the_container",
        "start goes on",
    ),
    (
        "hooks::failures::run_fails_when_a_hook_fails",
        "it ends with 255",
    ),
    (
        "hooks::failures::a_failing_poststop_hook_gives_a_warning",
        "it prints no warning",
    ),
    (
        "hooks::failures::the_error_names_the_hook_and_quotes_its_output",
        "it ends with 255, and its text is another",
    ),
    (
        "hooks::failures::a_program_that_cannot_be_executed_is_an_error",
        "it ends with 255",
    ),
    (
        "hooks::failures::a_hook_is_killed_when_its_timeout_expires",
        "its text is another",
    ),
    (
        "hooks::failures::a_failure_before_the_hooks_calls_no_hook",
        "its text is another",
    ),
    (
        "hooks::failures::a_failure_after_the_hooks_calls_the_poststop_hooks",
        "it calls none then",
    ),
    (
        "hooks::life::hooks_run_even_if_the_bundle_has_been_removed",
        "its own file in the bundle is gone too",
    ),
    (
        "hooks::life::a_poststart_hook_may_delete_the_container",
        "start goes on",
    ),
    (
        "hooks::life::hooks_work_with_every_method_of_entering_the_root",
        "createContainer hooks begin in the bundle",
    ),
    (
        "lifecycle::run_keep_leaves_a_stopped_container",
        "it has no --keep",
    ),
    (
        "lifecycle::run_resolves_the_pid_file_against_the_working_directory",
        "a relative pid file starts at the bundle",
    ),
    (
        "lifecycle::state_has_the_fields_of_the_specification",
        "its rootfs is relative",
    ),
    (
        "lifecycle::state_json_has_the_keys_that_other_tools_read",
        "its file is called status",
    ),
    (
        "lifecycle::a_second_start_is_refused",
        "its text is about exec.fifo",
    ),
    (
        "lifecycle::start_of_a_stopped_container_is_refused",
        "its text is another",
    ),
    (
        "lifecycle::kill_accepts_signal_names_and_numbers",
        "it knows no small letters",
    ),
    (
        "lifecycle::kill_with_an_unknown_signal_is_refused",
        "it takes an unknown name for 0",
    ),
    (
        "lifecycle::kill_of_a_stopped_container_is_refused",
        "its text is `No such process`",
    ),
    (
        "lifecycle::a_missing_container_is_refused_except_by_delete_force",
        "its text is about its file",
    ),
    ("lifecycle::an_id_in_use_is_refused", "its text is another"),
    (
        "lifecycle::invalid_ids_are_refused",
        "it takes spaces and colons",
    ),
    (
        "leftovers::fifty_failing_runs_leave_the_host_unchanged",
        "some of them work",
    ),
    (
        "list::table_has_a_line_for_each_container",
        "its lines are not sorted",
    ),
    ("list::quiet_prints_ids_alone", "its lines are not sorted"),
    (
        "list::an_empty_root_lists_nothing",
        "it prints an empty array",
    ),
    (
        "managers::the_last_error_in_the_log_has_the_reason",
        "its text has the name in the middle",
    ),
    (
        "namespaces::modes::a_duplicate_namespace_is_refused",
        "it takes the last one",
    ),
    (
        "namespaces::shared::without_a_pid_namespace_kill_ends_every_process",
        "it ends only the first",
    ),
    (
        "process::identity::home_comes_from_passwd_unless_set",
        "HOME stays unset for an unknown user",
    ),
    (
        "process::identity::a_missing_program_is_refused_by_create",
        "its text has the name in the middle",
    ),
    (
        "process::rights::an_unknown_capability_gives_a_warning",
        "it says nothing",
    ),
    (
        "process::caller::the_container_has_its_own_session_keyring",
        "its keyring has the bare id as name",
    ),
    (
        "process::caller::signals_that_the_caller_ignores_are_not_ignored",
        "it hands on what the caller ignores",
    ),
    (
        "rootfs::copyup::a_full_tmpfs_is_an_error",
        "it does not say which mount",
    ),
    (
        "rootfs::copyup::a_tmpfs_has_the_mode_of_its_mount_point",
        "it has that of the kernel, which is 1777",
    ),
    (
        "rootfs::host_sources::a_block_device_of_the_host_is_mounted",
        "the container's device rules are in force while it mounts",
    ),
    (
        "rootfs::masks::a_readonly_path_keeps_the_mounts_options",
        "its remount takes the options away",
    ),
    (
        "rootfs::options::the_last_of_opposite_options_wins",
        "the first one counts",
    ),
    (
        "rootfs::options::propagation_options_are_applied",
        "it does not know all",
    ),
    (
        "rootfs::options::an_unknown_propagation_is_refused",
        "it ignores it",
    ),
    (
        "rootfs::options::an_unknown_option_reaches_the_file_system_and_is_refused",
        "its text has no slash",
    ),
    (
        "rootfs::places::a_rootfs_on_a_readonly_file_system_works",
        "it makes the root writable",
    ),
    (
        "rootfs::places::a_missing_mount_point_on_a_readonly_file_system_is_refused",
        "it makes the root writable",
    ),
    (
        "rootfs::places::no_pivot_with_private_propagation_is_refused",
        "it does both",
    ),
    (
        "rootfs::places::three_hundred_mounts_fit_in_256_descriptors",
        "it opens every mount first",
    ),
    (
        "seccomp::verdicts::dockers_profile_is_applied_to_each_call",
        "calls newer than the profile are denied by EPERM",
    ),
    (
        "seccomp::verdicts::the_profile_applies_to_32_bit_programs",
        "calls newer than the profile are denied by EPERM",
    ),
    (
        "seccomp::actions::entries_with_conditions_apply_in_order",
        "libseccomp looks at the last arguments first",
    ),
    (
        "seccomp::loading::an_empty_profile_installs_no_filter",
        "a profile without defaultAction is an error",
    ),
    (
        "seccomp::refusals::a_profile_too_long_for_the_kernel_is_refused",
        "it takes the first six conditions",
    ),
    (
        "security::escapes::cve_2019_16884_proc_is_of_type_proc",
        "it lets the kernel decide",
    ),
    (
        "security::escapes::cve_2019_16884_nothing_is_mounted_inside_proc",
        "it lets the kernel decide",
    ),
    (
        "security::escapes::cve_2024_21626_no_working_directory_through_a_leaked_descriptor",
        "Debian's falls for it",
    ),
    (
        "security::escapes::cve_2024_21626_no_program_through_a_leaked_descriptor",
        "Debian's falls for it",
    ),
    (
        "security::images::cve_2016_3697_ids_are_numbers",
        "HOME stays unset for an unknown user",
    ),
    (
        "security::images::ids_out_of_range_are_refused",
        "it takes them",
    ),
    (
        "security::images::cve_2019_19921_links_at_proc_and_sys_are_refused",
        "its text is another",
    ),
    (
        "terminal::detached_without_a_console_socket_is_refused",
        "its text is another",
    ),
    (
        "terminal::a_console_socket_without_a_terminal_is_refused",
        "it connects first",
    ),
    (
        "terminal::a_console_socket_in_the_foreground_is_refused",
        "it connects first",
    ),
    (
        "terminal::outer::stdout_may_be_a_file",
        "it writes to stdin's terminal",
    ),
    (
        "terminal::outer::the_terminal_has_the_size_of_the_callers",
        "the size stays 0",
    ),
    (
        "terminal::outer::a_new_size_of_the_callers_terminal_reaches_the_process",
        "the size stays 0",
    ),
    (
        "terminal::socket::create_sends_the_master_of_the_terminal",
        "the text is a space",
    ),
    (
        "terminal::socket::run_detached_sends_the_master_of_the_terminal",
        "the text is a space",
    ),
    (
        "terminal::socket::a_relative_path_is_relative_to_the_working_directory",
        "it starts at the bundle",
    ),
    (
        "users::combinations::every_combination_of_two_kinds_works_beside_a_user_namespace",
        "it hangs now and then",
    ),
    (
        "users::devices::configured_devices_are_bound_from_the_host",
        "it binds a copy that it has mounted elsewhere",
    ),
    (
        "users::devices::a_device_that_the_host_lacks_is_refused",
        "it makes one outside and binds that",
    ),
    (
        "users::view::a_volume_is_mounted_with_its_options",
        "it forgets the options",
    ),
    (
        "users::view::mount_flags_of_a_bind_source_are_kept",
        "it forgets the flags",
    ),
    (
        "users::view::a_recursive_bind_includes_the_mounts_below",
        "it leaves out what is below",
    ),
    (
        "users::view::proc_can_be_bound_with_a_shared_pid_namespace",
        "it forgets the options",
    ),
    (
        "users::view::the_container_sees_its_cgroup_in_the_v2_view",
        "it shows all cgroups of the host",
    ),
    (
        "users::rootless::spec::spec_and_run_work_in_the_current_directory",
        "it writes no mappings",
    ),
    (
        "users::rootless::spec::spec_and_run_work_in_a_terminal",
        "it asks newuidmap first, which complains",
    ),
    (
        "users::rootless::spec::the_process_runs_in_a_container",
        "its host name is its own",
    ),
    (
        "users::rootless::spec::a_missing_user_namespace_is_reported",
        "it makes one",
    ),
    (
        "users::rootless::ids::setgroups_is_denied_when_only_the_users_group_is_mapped",
        "it ignores them",
    ),
    (
        "users::rootless::ids::a_rootless_manager_joins_the_namespaces_of_a_pod",
        "it enters the pid namespace before the one that owns it",
    ),
    (
        "users::rootless::view::configured_devices_are_bound_from_the_host",
        "it looks for a place to make it at",
    ),
    (
        "users::rootless::view::a_device_that_the_user_cannot_open_is_bound_but_cannot_be_opened",
        "it looks for a place to make it at",
    ),
    (
        "pause::kill_reaches_a_paused_container",
        "on cgroup v1 it leaves it frozen",
    ),
    (
        "update::flags_change_the_limits_that_they_name",
        "it takes no units",
    ),
    (
        "update::resources_without_limits_change_nothing",
        "a limit of 0 is one",
    ),
    (
        "update::changing_quota_or_period_keeps_the_other",
        "it cannot take a quota back",
    ),
    (
        "update::memory_and_swap_limits_can_be_raised_and_lowered",
        "it takes no units",
    ),
    (
        "update::unlimited_memory_makes_swap_unlimited",
        "it leaves swap limited",
    ),
    (
        "update::a_refused_update_changes_nothing",
        "it takes no units, and puts nothing back",
    ),
    (
        "update::invalid_values_are_refused_with_their_flag_or_field",
        "it writes a negative number as a large one",
    ),
    (
        "update::invalid_json_is_refused_with_its_position",
        "it writes a negative number as a large one",
    ),
    (
        "update::a_created_and_a_paused_container_can_be_updated",
        "it takes no units",
    ),
];

/// Why a test does not apply to crun.
pub(super) fn of_crun(test: &str) -> Option<&'static str> {
    CRUN.iter()
        .find(|(name, _)| *name == test)
        .map(|(_, how)| *how)
}
