//! What hybrid mode promises, as a user of its documentation reads it: Kong's manual paragraph by
//! paragraph, then what Kong's own tests of it ask for (reference hybrid.md, section 11). Names of tests
//! quote them. This is the map; a test that it names and that is gone fails.
//!
//! # Paragraphs of the manual
//!
//! - Configuration Properties:
//!   `the_node_automatically_connects_and_syncs_itself_up_with_the_current_configuration`
//!   `this_port_is_always_protected_with_mutual_tls`
//!   `rules_of_one_role`
//! - Generating Certificate/Key Pair:
//!   `by_default_it_is_valid_for_3_years_but_can_be_set_longer_or_shorter_with_the_days_option`
//!   `gen_cert_overwrites_neither_file_and_leaves_no_half_pair`
//! - Setting Up Kong Control Plane Nodes:
//!   `a_node_that_cannot_be_what_its_role_says_does_not_start`
//!   `a_write_on_either_control_plane_reaches_both_and_all_data_planes`
//! - PKI mode:
//!   `nodes_of_one_authority_form_a_cluster`
//!   `a_data_plane_in_pki_mode_checks_name_and_issuer_of_its_control_plane`
//!   `at_most_three_intermediates_stand_between_the_root_and_a_data_plane`
//!   `purposes_are_checked_where_a_certificate_lists_them`
//! - Revocation check of Data Plane certificates:
//!   `who_gets_in_is_as_the_manual_has_it`
//!   `a_good_data_plane_joins_and_a_revoked_one_has_no_row`
//! - Starting Data Plane Nodes:
//!   `the_node_automatically_connects_and_syncs_itself_up_with_the_current_configuration`
//!   `the_certificate_is_automatically_added_to_the_trusted_chain`
//! - DP Node Start Sequence:
//!   `it_starts_with_empty_configuration_and_returns_404_then_contacts_the_cp_node`
//!   `to_change_a_disconnected_data_plane_node_you_have_to_remove_the_config_cache_file`
//! - Checking the status of the cluster:
//!   `you_may_want_to_check_the_status_of_the_kong_cluster_from_time_to_time`
//!   `this_endpoint_is_only_available_when_kong_is_configured_to_run_as_control_plane`
//! - Managing the cluster using Control Plane nodes:
//!   `those_changes_will_be_synced_and_updated_on_the_data_plane_nodes_automatically`
//! - Version compatibility:
//!   `new_configs_are_only_pushed_to_data_planes_that_have_those_configured_plugins_installed`
//!   `for_example_a_kong_gateway_oss_v2_5_2_control_plane`
//!   `for_example_if_a_kong_gateway_oss_control_plane_has_plugin1_v1_1_1_and_plugin2_v2_1_0`
//!   `configured_plugins_means_any_plugin_that_is_either_enabled_globally_or_configured_by_services_routes_or_consumers`
//!   `if_the_compatibility_checks_fail_the_control_plane_stops_pushing_out_new_configs`
//!   `data_planes_reject_any_config_that_does_not_pass_the_schema_validation`
//! - Fault tolerance:
//!   `the_data_plane_will_keep_serving_requests_using_cached_configurations`
//!   `data_plane_nodes_can_be_restarted_while_in_disconnected_mode_and_resume_connected_mode`
//! - Disconnected Mode:
//!   `control_plane_updates_can_be_done_with_peace_of_mind`
//!   `control_plane_updates_or_database_restores_can_be_done_with_peace_of_mind`
//!   `a_new_data_plane_node_can_be_provisioned_during_control_plane_downtime_by_a_copied_cache`
//!   `or_using_a_declarative_configuration_it_will_also_keep_trying_to_contact_the_control_plane`
//!   `to_change_a_disconnected_data_plane_node_you_have_to_remove_the_config_cache_file`
//! - Readonly Status API endpoints on Data Plane:
//!   `several_readonly_endpoints_are_exposed_to_the_status_api_on_data_planes`
//!   `the_status_api_changes_nothing_and_has_nothing_else`
//!
//! # Kong's tests
//!
//! - rows: ip, ttl, version, status, labels, certificate's expiry:
//!   `a_row_and_its_node_id_outlive_both_planes`
//!   `nodes_of_one_authority_form_a_cluster`
//!   `new_configs_are_only_pushed_to_data_planes_that_have_those_configured_plugins_installed`
//! - rows cannot be deleted or patched, /clustering_data_planes is absent:
//!   `the_places_and_methods_are_kongs`
//! - routes made, deleted, of a disabled service, with a plugin, without a service:
//!   `those_changes_will_be_synced_and_updated_on_the_data_plane_nodes_automatically`
//! - the first change at once, the next four as one:
//!   `the_first_change_goes_out_at_once_and_the_next_four_together`
//! - the cached configuration has mode 0600:
//!   `the_data_plane_will_keep_serving_requests_using_cached_configurations`
//! - through a forward proxy:
//!   `heads_and_content_go_through_the_proxy_and_the_connect_line_is_kongs`
//! - versions and plugins, allowed and blocked:
//!   `new_configs_are_only_pushed_to_data_planes_that_have_those_configured_plugins_installed`
//! - start and stop:
//!   `a_node_that_cannot_be_what_its_role_says_does_not_start`
//!   `labels_have_bounds_and_a_shape`
//!   `control_plane_updates_can_be_done_with_peace_of_mind`
//! - OCSP on, off and optional:
//!   `who_gets_in_is_as_the_manual_has_it`
//! - several control planes:
//!   `a_write_on_either_control_plane_reaches_both_and_all_data_planes`
//! - configurations for older data planes:
//!   `the_table_of_removed_fields_is_that_of_the_reference`
//!   `rules_for_single_plugins`
//!   `every_redis_becomes_flat_whatever_comes_after_it`
//! - node id:
//!   `a_row_and_its_node_id_outlive_both_planes`
//!   `a_node_keeps_its_id_and_mends_a_broken_file`
//! - readiness:
//!   `a_data_plane_is_ready_with_its_first_config_were_it_empty_and_until_it_is_drained`
//! - reports of errors:
//!   `a_report_of_an_error_is_noted_and_ends_nothing`
//! - deprecation warnings appear on control planes, not on data planes:
//!   `the_control_plane_says_what_is_deprecated_and_the_data_planes_do_not`
//!
//! # What of them does not concern us
//!
//! - LMDB, its size and its tag, and the dedicated process: there is neither.
//! - `skipping config push (no connected clients)`: nothing is exported for nobody.
//! - The second subsystem's node id: there is no stream proxy yet.
//! - RPC sync (`cluster_rpc`, `/v2/outlet`): not offered.
//! - Cassandra: refused, as Kong does since 3.4.

mod compatible;
mod deprecating;
mod managing;
mod map;
mod node;
mod standing_alone;
mod starting;
mod trusting;
mod validating;
