//! What the oldest kernel that we promise allows, and newer ones do not hold us to.

use shunt_common::feature;
use shunt_datapath::testrun::TestRun;
use shunt_datapath::{Settings, Sizes};

/// `MAX_BPF_STACK` in include/linux/filter.h: bytes for the deepest chain of calls.
const MOST: u32 = 512;

/// All that one node can have at once.
const ALL: u32 = feature::IPV4 | feature::IPV6 | feature::BIND_PROTECTION | feature::XDP | feature::L3;

#[test]
fn every_program_fits_the_stack_as_the_oldest_kernel_reckons_it() {
    let dispatches = [feature::DSR_OPT, feature::DSR_IPIP, feature::DSR_GENEVE];
    for features in dispatches.map(|dispatch| ALL | dispatch | feature::OPT_OUT) {
        let mut config = TestRun::config(&Settings::new("/", "/"));
        config.features = features | TestRun::kernel_features().unwrap();
        let costs = TestRun::load(&config, &Sizes::default()).unwrap().verified().unwrap();
        assert!(costs.len() > 10, "{costs:?}");
        for (program, cost) in costs {
            assert!(cost.stack <= MOST, "{program} takes {} bytes with {features:#x}", cost.stack);
        }
    }
}
